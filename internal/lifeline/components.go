// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import (
	"context"
	"log"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Builder ties the builds of b to the process.
func (l *Line) Builder(b packersdk.Builder) packersdk.Builder { return builder{b, l} }

type builder struct {
	packersdk.Builder
	line *Line
}

func (b builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	run, end := b.line.begin(ctx, ui.Error)
	defer end()
	a, err := b.Builder.Run(run, ui, hook)
	if a != nil {
		a = artifact{a, func() (end func()) {
			_, end = b.line.begin(context.WithoutCancel(ctx), func(text string) { log.Printf("[WARN] %s", text) })
			return end
		}}
	}
	return a, err
}

// artifact is one whose removal is a run of its own: the process outlives its Packer
// until the removal has ended.
type artifact struct {
	packersdk.Artifact
	hold func() (end func())
}

func (a artifact) Destroy() error {
	defer a.hold()()
	return a.Artifact.Destroy()
}

// PostProcessor ties the runs of p to the process.
func (l *Line) PostProcessor(p packersdk.PostProcessor) packersdk.PostProcessor {
	return postProcessor{p, l}
}

type postProcessor struct {
	packersdk.PostProcessor
	line *Line
}

func (p postProcessor) PostProcess(ctx context.Context, ui packersdk.Ui, a packersdk.Artifact) (packersdk.Artifact, bool, bool, error) {
	ctx, end := p.line.begin(ctx, ui.Error)
	defer end()
	return p.PostProcessor.PostProcess(ctx, ui, a)
}
