// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package ocisim

import (
	"crypto/sha256"
	"net/http"
	"time"
)

// tokenLife is how long a retry token is remembered.
const tokenLife = 24 * time.Hour

// tokenKey says in which scope a retry token is unique.
type tokenKey struct {
	tenancy, region, op, token string
}

// tokenUse is what became of the request that a retry token came with first.
type tokenUse struct {
	at      time.Time
	payload [32]byte
	reply   *reply
	err     error
}

// withRetryToken runs an operation at most once per opc-retry-token: a
// repetition with the same payload gets the first answer, one with another
// payload is refused. The cloud's lock is held.
func (c *Cloud) withRetryToken(q *call, handle func(*call) (*reply, error)) (*reply, error) {
	token := q.Header.Get("Opc-Retry-Token")
	if token == "" || q.Method == http.MethodGet {
		return handle(q)
	}
	if len(token) > 64 {
		return nil, errInvalid("The opc-retry-token is longer than 64 characters")
	}
	key := tokenKey{q.tenancy().ID, q.region().name, q.op, token}
	payload := sha256.Sum256(append([]byte(q.URL.RequestURI()+"\n"), q.body...))
	if use, known := c.tokens[key]; known && time.Since(use.at) < tokenLife {
		switch {
		case use.payload != payload:
			return nil, errInvalidatedToken()
		case use.reply != nil && use.reply.again != nil:
			return use.reply.again()
		default:
			return use.reply, use.err
		}
	}
	result, err := handle(q)
	if err == nil || c.cfg.Switches.RemembersFailedTokens {
		c.tokens[key] = &tokenUse{at: time.Now(), payload: payload, reply: result, err: err}
	}
	return result, err
}

func errInvalidatedToken() *apiError {
	return fail(http.StatusConflict, "InvalidatedRetryToken",
		"The retry token you provided was used in an earlier request that resulted in a system update, "+
			"but a subsequent operation has invalidated the token.")
}
