// Copyright (c) The packer-plugin-armfree Authors
// SPDX-License-Identifier: MPL-2.0

package lifeline

import (
	"context"

	packersdk "github.com/hashicorp/packer-plugin-sdk/packer"
)

// Builder ties the builds of b to the process.
func (l *Line) Builder(b packersdk.Builder) packersdk.Builder { return builder{b, l} }

type builder struct {
	packersdk.Builder
	line *Line
}

func (b builder) Run(ctx context.Context, ui packersdk.Ui, hook packersdk.Hook) (packersdk.Artifact, error) {
	ctx, end := b.line.begin(ctx, ui.Error)
	defer end()
	return b.Builder.Run(ctx, ui, hook)
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
