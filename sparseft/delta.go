package sparseft

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// Delta is what a training leaves: how its tensors differ from the ones it began with.
type Delta struct {
	Base    string  // digest of the model that was trained from
	Options Options // of the training
	Steps   int     // that were made
	Tensors []TensorDelta
}

// TensorDelta is the change of one tensor: sparse (Indices and Values), dense (Values alone), of low rank (A and B), or of
// low rank plus sparse.
type TensorDelta struct {
	Name       string
	Rows, Cols int
	Digest     string // of the tensor trained from, see [Digest]

	Indices []int32   // flat row-major indices, ascending; nil: Values is dense or there is none
	Values  []float32 // added at the indices

	Rank  int
	Scale float64   // α/r
	A, B  []float32 // Rank x Cols and Rows x Rank: Scale·B·A is added
	Mask  *Mask     // what is outside it is zero in the sum; nil: nothing
}

// Digest is the SHA-256 of a tensor's weights as float32 numbers, little-endian and row-major, in hexadecimal.
func Digest(b Base, rows, cols int) string {
	h := sha256.New()
	err := blocks(b, rows, cols, func(block []float32, _, _ int) error { return writeData(h, block) })
	if err != nil {
		panic(err) // a hash takes every write
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Delta returns what was trained so far; of a training that diverged, by its last good step.
func (t *Trainer) Delta() *Delta {
	d := &Delta{Base: t.options.Base, Options: t.options, Steps: t.state.Step, Tensors: make([]TensorDelta, len(t.tuners))}
	t.each(func(i int) {
		g := t.tensors[i]
		d.Tensors[i] = TensorDelta{Name: g.name, Rows: g.rows, Cols: g.cols, Digest: Digest(g.base, g.rows, g.cols)}
		t.tuners[i].result(&d.Tensors[i])
	})
	return d
}

// Bytes is what the delta takes when it is stored beside a model: values, indices, factors and masks. Names and metadata
// are not counted.
func (d *Delta) Bytes() int64 {
	n := int64(0)
	for i := range d.Tensors {
		t := &d.Tensors[i]
		n += 4 * int64(len(t.Indices)+len(t.Values)+len(t.A)+len(t.B))
		if t.Mask != nil {
			n += t.Mask.size()
		}
	}
	return n
}

// pairBytes is what an index and its value take.
const pairBytes = 8

// DeltaBytes is what a tensor's share of [Delta.Bytes] will be when all steps are made. With [Options.CrossTensor] it is what it is now.
func (t *Trainer) DeltaBytes(tensor int) int64 { return t.tuners[tensor].bytes() }

// deltaVersion is the version of the format of deltas.
const deltaVersion = "1"

// deltaTensor is what the metadata says of a tensor.
type deltaTensor struct {
	Name   string  `json:"name"`
	Rows   int     `json:"rows"`
	Cols   int     `json:"cols"`
	Digest string  `json:"sha256"`
	Scale  float64 `json:"scale,omitempty"`
}

// The parts of a tensor's change.
const (
	indicesPart = ".delta.indices"
	valuesPart  = ".delta.values"
	aPart       = ".lora_A"
	bPart       = ".lora_B"
	maskPart    = ".mask"
)

// Write writes the delta as a safetensors file.
func (d *Delta) Write(w io.Writer) error {
	options, err := json.Marshal(d.Options)
	if err != nil {
		return err
	}
	var list []deltaTensor
	var entries []entry
	for i := range d.Tensors {
		t := &d.Tensors[i]
		list = append(list, deltaTensor{t.Name, t.Rows, t.Cols, t.Digest, t.Scale})
		if t.Indices != nil {
			entries = append(entries, entry{t.Name + indicesPart, []int{len(t.Indices)}, t.Indices}, entry{t.Name + valuesPart, []int{len(t.Values)}, t.Values})
		} else if t.Values != nil {
			entries = append(entries, entry{t.Name + valuesPart, []int{t.Rows, t.Cols}, t.Values})
		}
		if t.Rank > 0 {
			entries = append(entries, entry{t.Name + aPart, []int{t.Rank, t.Cols}, t.A}, entry{t.Name + bPart, []int{t.Rows, t.Rank}, t.B})
		}
		if t.Mask != nil {
			b := t.Mask.bytes()
			entries = append(entries, entry{t.Name + maskPart, []int{len(b)}, b})
		}
	}
	tensors, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return writeEntries(w, map[string]string{
		"format": "sparseft", "version": deltaVersion, "base": d.Base, "method": string(d.Options.Method),
		"options": string(options), "steps": strconv.Itoa(d.Steps), "tensors": string(tensors),
	}, entries)
}

// ReadDelta reads what Write wrote. Of a file from elsewhere it takes nothing on trust: an error names the tensor and what
// is wrong with it.
func ReadDelta(data []byte) (*Delta, error) {
	metadata, entries, err := readEntries(data)
	if err != nil {
		return nil, fmt.Errorf("sparseft: delta: %w", err)
	}
	if metadata["format"] != "sparseft" || metadata["version"] != deltaVersion {
		return nil, fmt.Errorf("sparseft: delta: format %q of version %q, want sparseft of version %s", metadata["format"], metadata["version"], deltaVersion)
	}
	d := &Delta{Base: metadata["base"]}
	var list []deltaTensor
	if err := json.Unmarshal([]byte(metadata["options"]), &d.Options); err != nil {
		return nil, fmt.Errorf("sparseft: delta: options: %v", err)
	}
	if err := json.Unmarshal([]byte(metadata["tensors"]), &list); err != nil {
		return nil, fmt.Errorf("sparseft: delta: tensors: %v", err)
	}
	if d.Steps, err = strconv.Atoi(metadata["steps"]); err != nil {
		return nil, fmt.Errorf("sparseft: delta: steps: %v", err)
	}
	parts := make(map[string]entry, len(entries))
	for _, e := range entries {
		parts[e.name] = e
	}
	seen := map[string]bool{}
	for _, l := range list {
		if seen[l.Name] {
			return nil, fmt.Errorf("sparseft: delta: %s is listed twice", l.Name)
		}
		seen[l.Name] = true
		t, err := l.read(parts)
		if err != nil {
			return nil, fmt.Errorf("sparseft: delta of %s: %w", l.Name, err)
		}
		d.Tensors = append(d.Tensors, *t)
	}
	for name := range parts {
		return nil, fmt.Errorf("sparseft: delta: tensor %s is of no module that the metadata lists", name)
	}
	return d, nil
}

// read takes the parts of a tensor.
func (l deltaTensor) read(parts map[string]entry) (*TensorDelta, error) {
	if l.Rows <= 0 || l.Cols <= 0 || l.Rows > math.MaxInt32/l.Cols {
		return nil, fmt.Errorf("it is of %d x %d weights", l.Rows, l.Cols)
	}
	if b, err := hex.DecodeString(l.Digest); err != nil || len(b) != sha256.Size {
		return nil, fmt.Errorf("%q is no SHA-256", l.Digest)
	}
	t := &TensorDelta{Name: l.Name, Rows: l.Rows, Cols: l.Cols, Digest: l.Digest, Scale: l.Scale}
	var err error
	take := func(part string) any {
		e, ok := parts[l.Name+part]
		delete(parts, l.Name+part)
		if v, floats := e.data.([]float32); floats {
			if i := finite(v); i >= 0 && err == nil {
				err = fmt.Errorf("%v at place %d of %s", v[i], i, strings.TrimPrefix(part, "."))
			}
		}
		if !ok {
			return nil
		}
		return e.data
	}
	indices, sparse := take(indicesPart).([]int32)
	values, changed := take(valuesPart).([]float32)
	a, low := take(aPart).([]float32)
	b, _ := take(bPart).([]float32)
	mask, masked := take(maskPart).([]byte)
	if err != nil {
		return nil, err
	}
	switch {
	case sparse && len(indices) != len(values):
		return nil, fmt.Errorf("%d indices and %d values", len(indices), len(values))
	case !sparse && changed && len(values) != l.Rows*l.Cols:
		return nil, fmt.Errorf("%d values without indices for %d x %d weights", len(values), l.Rows, l.Cols)
	case !changed && !low:
		return nil, fmt.Errorf("neither values nor factors")
	}
	if err := checkIndices(indices, l.Rows*l.Cols); err != nil {
		return nil, err
	}
	t.Indices, t.Values = indices, values
	if low {
		t.Rank = len(a) / l.Cols
		if t.Rank < 1 || t.Rank > min(l.Rows, l.Cols) || len(a) != t.Rank*l.Cols || len(b) != l.Rows*t.Rank || !(math.Abs(l.Scale) <= math.MaxFloat32) {
			return nil, fmt.Errorf("factors of %d and %d weights, scaled by %v, for %d x %d", len(a), len(b), l.Scale, l.Rows, l.Cols)
		}
		t.A, t.B = a, b
	}
	if masked {
		if t.Mask, err = maskOf(mask, l.Rows*l.Cols); err != nil {
			return nil, err
		}
	}
	return t, nil
}
