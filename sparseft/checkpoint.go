package sparseft

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// checkpointMagic begins a checkpoint; its last byte is the version of the format. After it comes a safetensors file, and
// then the SHA-256 of all before.
const checkpointMagic = "SFTSTATE\x00\x00\x00\x00\x00\x00\x00\x01"

// arrays visits the state of tensors, to write it or to read it.
type arrays struct {
	prefix  string
	entries []entry          // written
	given   map[string]entry // to be read; nil when writing
	between bool             // two steps, where the sums of the microbatches' gradients are zero, and are left out
	err     error
}

func (v *arrays) ints(name string, p *[]int32)     { visit(v, name, p) }
func (v *arrays) floats(name string, p *[]float32) { visit(v, name, p) }

// sums are those of n gradients over the microbatches of the step so far.
func (v *arrays) sums(name string, p *[]float32, n int) {
	if _, kept := v.given[v.prefix+name]; !v.between || kept {
		v.floats(name, p)
	} else if v.given != nil && n > 0 {
		*p = make([]float32, n)
	}
}

func visit[T any](v *arrays, name string, p *[]T) {
	name = v.prefix + name
	if v.given == nil {
		v.entries = append(v.entries, entry{name, []int{len(*p)}, *p})
		return
	}
	e, ok := v.given[name]
	data, fits := e.data.([]T)
	if v.err == nil && (!ok || !fits) {
		v.err = fmt.Errorf("no %s of the expected type", name)
	}
	delete(v.given, name)
	*p = nil
	if len(data) > 0 {
		*p = data
	}
}

// shapes identifies the targets of a checkpoint.
type shapes struct {
	Name string `json:"name"`
	Rows int    `json:"rows"`
	Cols int    `json:"cols"`
	Mask string `json:"mask,omitempty"` // SHA-256
}

// identity describes the targets.
func (t *Trainer) identity() []shapes {
	out := make([]shapes, len(t.tensors))
	for i, g := range t.tensors {
		out[i] = shapes{Name: g.name, Rows: g.rows, Cols: g.cols}
		if g.mask != nil {
			d := sha256.Sum256(g.mask.bytes())
			out[i].Mask = hex.EncodeToString(d[:])
		}
	}
	return out
}

// Save writes the whole state, between any two microbatches: what [Restore] makes of it goes on with the same bits. The same
// state gives the same bytes.
func (t *Trainer) Save(w io.Writer) error {
	write, err := t.Snapshot()
	if err != nil {
		return err
	}
	return write(w)
}

// Snapshot returns a function that writes what [Trainer.Save] would write now. Between two steps it may be called while gradients of the next one are added
// and has to return before [Trainer.Step] is called; within a step, before the next gradient is added.
func (t *Trainer) Snapshot() (write func(io.Writer) error, err error) {
	if t.failed != nil {
		return nil, fmt.Errorf("no checkpoint of a training that has failed: %w", t.failed)
	}
	if slices.Contains(t.added, true) {
		return nil, fmt.Errorf("sparseft: a checkpoint within microbatch %d of step %d", t.state.Micro+1, t.state.Step+1)
	}
	metadata := map[string]string{}
	for name, v := range map[string]any{"options": t.options, "progress": t.state, "tensors": t.identity()} {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		metadata[name] = string(b)
	}
	v := &arrays{between: t.state.Micro == 0}
	for i, u := range t.tuners {
		v.prefix = strconv.Itoa(i) + "."
		u.arrays(v)
	}
	return func(w io.Writer) error {
		h := sha256.New()
		both := io.MultiWriter(w, h)
		if _, err := io.WriteString(both, checkpointMagic); err != nil {
			return err
		}
		if err := writeEntries(both, metadata, v.entries); err != nil {
			return err
		}
		_, err := w.Write(h.Sum(nil))
		return err
	}, nil
}

// Restore goes on from what Save wrote, with the same targets and options.
func Restore(targets []Target, o Options, data []byte) (*Trainer, error) {
	t, err := New(targets, o)
	if err != nil {
		return nil, err
	}
	if err := t.restore(data); err != nil {
		return nil, fmt.Errorf("sparseft: checkpoint: %w", err)
	}
	return t, nil
}

// restore replaces the state.
func (t *Trainer) restore(data []byte) error {
	const version = len(checkpointMagic) - 1
	switch {
	case len(data) < len(checkpointMagic)+sha256.Size || string(data[:version]) != checkpointMagic[:version]:
		return fmt.Errorf("%d bytes that are none", len(data))
	case data[version] != checkpointMagic[version]:
		return fmt.Errorf("of version %d, want %d", data[version], checkpointMagic[version])
	}
	content, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if have := sha256.Sum256(content); !bytes.Equal(have[:], sum) {
		return fmt.Errorf("its SHA-256 is not the one it ends with (damaged or truncated)")
	}
	metadata, entries, err := readEntries(content[len(checkpointMagic):])
	if err != nil {
		return err
	}
	if err := same("options", metadata["options"], t.options); err != nil {
		return err
	}
	if err := same("tensors", metadata["tensors"], t.identity()); err != nil {
		return err
	}
	var state progress
	if err := json.Unmarshal([]byte(metadata["progress"]), &state); err != nil {
		return fmt.Errorf("progress: %v", err)
	}
	if state.Step < 0 || state.Step > t.options.Steps || state.Micro < 0 || state.Micro > t.options.Accumulation {
		return fmt.Errorf("step %d and microbatch %d are not of this training", state.Step, state.Micro)
	}
	v := &arrays{given: make(map[string]entry, len(entries)), between: state.Micro == 0}
	for _, e := range entries {
		v.given[e.name] = e
	}
	for i, u := range t.tuners {
		v.prefix = strconv.Itoa(i) + "."
		u.arrays(v)
		if v.err == nil {
			v.err = u.restored(&t.options, state.Step)
		}
		if v.err != nil {
			return fmt.Errorf("%s: %w", t.tensors[i].name, v.err)
		}
	}
	if len(v.given) > 0 {
		return fmt.Errorf("%d arrays that are of no tensor", len(v.given))
	}
	t.state = state
	return nil
}

// same returns an error where JSON that was stored is not that of v, which names the first member that differs.
func same(what, stored string, v any) error {
	b, err := json.Marshal(v)
	if err != nil || string(b) == stored {
		return err
	}
	var old, now map[string]any
	if json.Unmarshal([]byte(stored), &old) == nil && json.Unmarshal(b, &now) == nil {
		var names []string
		for name := range now {
			names = append(names, name)
		}
		for name := range old {
			if _, both := now[name]; !both {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			if old[name] != now[name] {
				return fmt.Errorf("of another run: its %s is %v, here it is %v", name, old[name], now[name])
			}
		}
	}
	return fmt.Errorf("of another run: its %s are not these", what)
}
