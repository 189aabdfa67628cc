package evalworker

import (
	"context"
	"os"

	"github.com/paretopress/paretopress/internal/hub"
	"github.com/paretopress/paretopress/workflows"
)

// locate returns what [engine.Open] takes for a model reference: the reference itself, or where a model of the Hugging
// Face hub lies, which is fetched if need be.
func locate(ctx context.Context, ref string, h *hub.Client, report func(hub.Progress)) (string, error) {
	if !hub.IsRef(ref) {
		return ref, nil
	}
	r, err := hub.Parse(ref)
	if err != nil {
		return "", err
	}
	m, err := h.Fetch(ctx, r, report)
	return m.Path, err
}

// locate is the function locate, which it asks once for each reference: what a run has begun with goes on without the
// hub.
func (m *models) locate(ctx context.Context, ref string, report func(hub.Progress)) (string, error) {
	m.mu.Lock()
	path, ok := m.paths[ref]
	m.mu.Unlock()
	if ok {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := locate(ctx, ref, m.hub, report)
	if err != nil || path == ref {
		return path, err
	}
	m.mu.Lock()
	m.paths[ref] = path
	m.mu.Unlock()
	return path, nil
}

// fetching reports how far a download is.
func fetching(report Reporter) func(hub.Progress) {
	return func(p hub.Progress) {
		note := "fetching " + p.File
		if p.Note != "" {
			note = p.Note
		}
		report(workflows.Progress{Done: p.Done, Total: p.Total, Unit: "bytes", Note: note})
	}
}
