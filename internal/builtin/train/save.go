package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/internal/safetensors"
)

// progressKey is the name of the metadata of a checkpoint that hold the progress.
const progressKey = "progress"

// parts are what a checkpoint has of a parameter, by what follows its name there.
func (p *parameter) parts() map[string][]float32 {
	return map[string][]float32{"": p.weights, ".m": p.m, ".v": p.v}
}

// save writes the model as it is, and then the checkpoint: where that is new, so is the model.
func (t *training) save() error {
	if err := os.MkdirAll(t.Out, 0o755); err != nil {
		return err
	}
	files := maps.Clone(t.model.files)
	files["model.safetensors"] = t.model.stored("BF16")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := durable.Write(filepath.Join(t.Out, name), files[name]); err != nil {
			return err
		}
	}
	t.Cursor = t.windows.cursor
	text, err := json.Marshal(t.progress)
	if err != nil {
		return err
	}
	var entries []safetensors.Entry
	var body []byte
	for _, p := range t.model.parameters {
		parts := p.parts()
		for _, part := range slices.Sorted(maps.Keys(parts)) {
			entries = append(entries, safetensors.Entry{Name: p.Name + part, Type: "F32", Shape: p.Shape})
			for _, x := range parts[part] {
				body = binary.LittleEndian.AppendUint32(body, math.Float32bits(x))
			}
		}
	}
	header := safetensors.Header(map[string]string{progressKey: string(text)}, entries, 0, 8)
	return durable.Write(t.Checkpoint, append(header, body...))
}

// resume goes on from the checkpoint, if it is there.
func (t *training) resume() error {
	data, err := os.ReadFile(t.Checkpoint)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := t.restore(data); err != nil {
		return fmt.Errorf("%s: %w", t.Checkpoint, err)
	}
	fmt.Fprintf(t.Log, "goes on from step %d of %s\n", t.Step, t.Checkpoint)
	return nil
}

// restore takes over what save wrote.
func (t *training) restore(data []byte) error {
	metadata, tensors, err := safetensors.Parse(data)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(metadata[progressKey]), &t.progress); err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	if t.Step < 1 || t.Cursor.Text < 1 || t.Cursor.Length < 2 || t.Cursor.Used < 0 {
		return fmt.Errorf("progress %+v is none of a training", t.progress)
	}
	stored := map[string]safetensors.Tensor{}
	for _, x := range tensors {
		stored[x.Name] = x
	}
	for _, p := range t.model.parameters {
		for part, numbers := range p.parts() {
			x, ok := stored[p.Name+part]
			if !ok || x.Type != "F32" || !slices.Equal(x.Shape, p.Shape) {
				return fmt.Errorf("it has no tensor %s of type F32 and shape %v: it is of another model", p.Name+part, p.Shape)
			}
			for i := range numbers {
				numbers[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:]))
			}
		}
	}
	t.windows.cursor = t.Cursor
	t.windows.fill()
	if t.Cursor.Used > len(t.windows.rows) {
		return fmt.Errorf("%d windows are used of a text that has %d", t.Cursor.Used, len(t.windows.rows))
	}
	return nil
}
