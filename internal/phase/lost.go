// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package phase

import (
	"context"
	"errors"
	"fmt"
	"strings"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"

	"github.com/armfree/packer-plugin-armfree/internal/capacity"
	"github.com/armfree/packer-plugin-armfree/internal/wait"
)

// lostReplies are requests for one kind of thing whose replies were lost, by their
// tokens. What they made has the token in its tag, and a list may show it late.
type lostReplies struct {
	UI packersdk.Ui
	*wait.Open
	what string // "machine"
	by   string // what to look for by hand, up to the token
}

// lookUp finds what a request made whose reply was lost. It looks for as long as a
// list may lag behind; after a cancel, settle looks on.
func (l lostReplies) lookUp(ctx context.Context, token string, cause error, find func(ctx context.Context, token string) ([]string, error)) (id string, err error) {
	l.Add(token)
	l.UI.Sayf("The reply to the request for a new %s was lost: looking for what it made for up to %s", l.what, capacity.Short(wait.Unseen))
	never, err := l.Settle(ctx, func(ctx context.Context, key string) (bool, error) {
		ids, err := find(ctx, key)
		if len(ids) > 0 && key == token {
			id = ids[0]
		}
		return len(ids) > 0, err
	})
	switch {
	case id != "":
		l.UI.Sayf("The reply was lost, but the %s is there (%s)", l.what, id)
		return id, ctx.Err()
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("the reply to the request for a new %s was lost (%w) and what it made cannot be looked up: %w", l.what, cause, err)
	}
	return "", fmt.Errorf("the reply to the request for a new %s was lost, and %w; %s: %w", l.what, errUnseen, l.hint(never), cause)
}

// errUnseen says that a request whose reply was lost has made nothing, as far as can be
// known: a list would show it by now.
var errUnseen = errors.New("nothing that it made has shown up")

// settle finds what there is to undo, and says where to look for what is not found.
func (l lostReplies) settle(ctx context.Context, find func(ctx context.Context, token string) ([]string, error)) error {
	if len(l.Keys()) == 0 {
		return nil
	}
	l.UI.Sayf("A request for a new %s was not confirmed: looking for what it made, up to %s after it was sent", l.what, capacity.Short(wait.Unseen))
	never, err := l.Settle(ctx, func(ctx context.Context, token string) (bool, error) {
		ids, err := find(ctx, token)
		return len(ids) > 0, err
	})
	if len(never) > 0 {
		l.UI.Sayf("Nothing that it made has shown up; %s", l.hint(never))
	}
	if keys := l.Keys(); len(keys) > 0 {
		return fmt.Errorf("a request for a new %s was not confirmed and cannot be looked up; %s: %w", l.what, l.hint(keys), err)
	}
	return err
}

// hint is how what is not found can be found by hand.
func (l lostReplies) hint(tokens []string) string {
	const most = 5
	more := ""
	if n := len(tokens) - most; n > 0 {
		tokens, more = tokens[:most], fmt.Sprintf(" or %d more", n)
	}
	return fmt.Sprintf("should there be something all the same, it is the %s%s%s", l.by, strings.Join(tokens, " or "), more)
}

// made is what stays after an abort.
func (l lostReplies) made() (list []string) {
	for _, token := range l.Keys() {
		list = append(list, fmt.Sprintf("a %s that was not confirmed, if there is one (the %s%s),", l.what, l.by, token))
	}
	return list
}
