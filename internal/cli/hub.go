package cli

import (
	"context"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/hub"
)

// modelUsage says what a model reference may be.
const modelUsage = "Hugging Face folder, .gguf file, hf:owner/name[@revision][/file.gguf], or builtin"

// hub is the Hugging Face hub that the environment names.
func (s *session) hub() *hub.Client { return hub.New(s.Getenv) }

// fetchModel brings a model that is named as one of the Hugging Face hub into its cache. It returns a reference that
// names the model for good, and what [engine.Open] takes; other references are both as they are.
func (s *session) fetchModel(ctx context.Context, ref string) (pinned, path string, err error) {
	if !hub.IsRef(ref) {
		return ref, ref, nil
	}
	r, err := hub.Parse(ref)
	if err != nil {
		return "", "", usageError{err}
	}
	const label = "download"
	p := s.newProgress()
	m, err := s.hub().Fetch(ctx, r, func(now hub.Progress) {
		note := now.File
		if now.Note != "" {
			note = now.Note
		}
		p.report(label, "bytes", now.Done, now.Total, note)
	})
	if err == nil {
		p.finish(label, m.Ref.String())
	}
	p.close()
	if err != nil {
		return "", "", err
	}
	if m.Unreached != nil {
		s.say("taking %s from the cache: %s", m.Ref, oneLine(m.Unreached))
	}
	return m.Ref.String(), m.Path, nil
}

// openModel opens a model, which is fetched first if it is one of the Hugging Face hub.
func (s *session) openModel(ctx context.Context, ref string) (*engine.Checkpoint, error) {
	_, path, err := s.fetchModel(ctx, ref)
	if err != nil {
		return nil, err
	}
	return engine.Open(path)
}
