package evalworker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/durable"
)

// card is where the model card goes.
func (in ExportInput) card() string {
	if in.Format == FormatHuggingFace {
		return filepath.Join(in.Out, "README.md")
	}
	return in.Out + ".md"
}

// files are the files that are made beside the model.
func (in ExportInput) files() []string {
	var files []string
	if in.Format == FormatGGUF {
		files = append(files, in.card())
	}
	if in.TensorTypes != "" {
		files = append(files, in.TensorTypes)
	}
	return files
}

// vacant reports which of some paths are taken, before any work.
func (in ExportInput) vacant(paths ...string) error {
	for _, path := range paths {
		info, err := os.Lstat(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return jobErrorf("--out: %w", err)
		case !in.Force:
			return jobErrorf("%s exists already: give another path, or --force to replace it", path)
		case info.IsDir() && !replaceable(path):
			return jobErrorf("%s is a folder without config.json, which --force does not replace: give another path", path)
		case info.IsDir() && in.Format != FormatHuggingFace:
			return jobErrorf("%s is a folder: give the path of a file", path)
		}
	}
	return nil
}

// replaceable reports whether a folder is an exported model, or empty.
func replaceable(dir string) bool {
	if _, err := os.Stat(filepath.Join(dir, "config.json")); err == nil {
		return true
	}
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0
}

// stageFolder makes a folder beside path, where a model is whole and checked before it gets its name.
func stageFolder(path string) (string, error) {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", jobErrorf("--out: %w", err)
	}
	tmp, err := os.MkdirTemp(parent, ".tmp-export-*")
	return tmp, mark(ErrJob, err)
}

// place gives the model its name, and writes what goes with it. The model comes last: where it is, all is.
func (in ExportInput) place(path string, card export.Card, made exported) error {
	contents := map[string][]byte{}
	if in.Format == FormatGGUF {
		contents[in.card()] = card.Markdown()
	} else if err := durable.Write(filepath.Join(path, "README.md"), card.Markdown()); err != nil {
		return fmt.Errorf("evalworker: %w", err)
	}
	if in.TensorTypes != "" {
		contents[in.TensorTypes] = export.TensorTypes(made.tensors)
	}
	var written []string
	undo := func(err error) error {
		for _, name := range written {
			os.Remove(name)
		}
		return fmt.Errorf("evalworker: %w", err)
	}
	for _, name := range in.files() {
		if err := durable.Write(name, contents[name]); err != nil {
			return undo(err)
		}
		written = append(written, name)
	}
	if made.adapter != "" && in.Format == FormatGGUF {
		if err := durable.Move(made.adapter, in.adapter(), in.Force); err != nil {
			return undo(err)
		}
		written = append(written, in.adapter())
	}
	if err := durable.Move(path, in.Out, in.Force); err != nil {
		return undo(err)
	}
	return nil
}
