package export

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
)

// Formats of compressed-tensors, as quantization_config names them.
const (
	formatPacked = "pack-quantized"
	formatInt    = "int-quantized"
	formatFloat  = "float-quantized"
	formatMixed  = "mixed-precision"
)

// scheme is how compressed-tensors stores the weights of some modules.
type scheme struct {
	format      string
	bits, group int // group 0: the whole row
	symmetric   bool
	activations bool // inputs are rounded to 8 bits too
}

// String is for messages.
func (s scheme) String() string {
	if s.format == formatFloat {
		return "fp8"
	}
	return kernel.Layout{Bits: s.bits, Group: s.group, Symmetric: s.symmetric}.String()
}

// schemeOf is the scheme of a level, where compressed-tensors has one.
func schemeOf(w engine.Weights, activations bool) (s scheme, ok bool) {
	switch w := w.(type) {
	case *kernel.FP8:
		return floatScheme(activations), true
	case *kernel.Grouped:
		_, cols := w.Shape()
		return integerScheme(w.Layout(), cols, activations)
	case Planned:
		if w.FP8 {
			return floatScheme(activations), true
		}
		return integerScheme(w.Layout, w.ColsOf, activations)
	}
	return scheme{}, false
}

// floatScheme is the scheme of FP8.
func floatScheme(activations bool) scheme {
	return scheme{format: formatFloat, bits: 8, symmetric: true, activations: activations}
}

// integerScheme is the scheme of rows of cols integers: of 4 or 8 bits in groups that divide a row. The library of compressed-tensors
// packs other widths in different ways in different versions.
func integerScheme(l kernel.Layout, cols int, activations bool) (s scheme, ok bool) {
	if l.Bits != 4 && l.Bits != 8 || cols%l.Span(cols) != 0 {
		return scheme{}, false
	}
	s = scheme{format: formatPacked, bits: l.Bits, symmetric: l.Symmetric}
	if l.Group <= cols {
		s.group = l.Group
	}
	if activations && s.bits == 8 && s.symmetric && s.group == 0 {
		s.format, s.activations = formatInt, true
	}
	return s, true
}

// assignSchemes finds the scheme of each module and checks that the runtime takes them.
func (e *hfExport) assignSchemes() error {
	if e.options.Format != FormatCompressed {
		return nil
	}
	other := map[string]bool{}
	for _, l := range e.layers {
		for sub, roles := range hfModules {
			for _, role := range roles {
				m := l.modules[role]
				if m.level == "" || m.levels == nil {
					continue
				}
				s, ok := schemeOf(m.levels, e.options.Activations)
				if _, merged := m.levels.(Merged); merged {
					continue
				}
				if !ok {
					other[levelName(m.level)] = true
					continue
				}
				at := slices.Index(e.schemes, s)
				if at < 0 {
					at, e.schemes = len(e.schemes), append(e.schemes, s)
				}
				m.scheme = at + 1
				if err := runs(e.options.Runtime, s, levelName(m.level), m.unit); err != nil {
					return err
				}
			}
			if err := e.fused(l, sub); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(other)) {
		e.note("level %s has no form in compressed-tensors and is written dense", name)
	}
	switch {
	case len(e.schemes) == 0:
		e.note("no level has a form in compressed-tensors: all is dense")
	case strings.Contains(e.formats(), " "):
		e.result.Format = formatMixed
	default:
		e.result.Format = e.formats()
	}
	if e.options.Runtime == RuntimeTransformers && slices.ContainsFunc(e.schemes, func(s scheme) bool { return !s.symmetric }) {
		e.note("transformers loads groups with zeros with compressed-tensors 0.15 to 0.17; 0.18 to 0.20 expect them in another shape than they pack")
	}
	if e.options.Activations && slices.ContainsFunc(e.schemes, func(s scheme) bool { return s.activations }) {
		e.note("the runtime rounds the inputs of int8 and fp8 modules to 8 bits, which was not evaluated")
	}
	return nil
}

// runs returns an error if the runtime has no kernel for a scheme of a level of a unit. vLLM's are those of its Marlin family.
func runs(runtime string, s scheme, level, unit string) error {
	if runtime != RuntimeVLLM || s.format != formatPacked {
		return nil
	}
	if !slices.Contains([]int{0, 32, 64, 128}, s.group) {
		return fmt.Errorf("vllm has no kernel for groups of %d columns (%s of %s): it takes g32, g64, g128 and gall", s.group, level, unit)
	}
	if s.bits == 8 && !s.symmetric {
		return fmt.Errorf("vllm has no kernel for 8 bits with zeros (%s of %s): use its -sym form or int8", level, unit)
	}
	return nil
}

// fused returns an error if modules that vLLM puts into one are stored in different ways.
func (e *hfExport) fused(l hfLayer, sub int) error {
	if e.options.Runtime != RuntimeVLLM {
		return nil
	}
	names := func(m *hfModule) string {
		if m.scheme == 0 {
			return "dense"
		}
		return e.schemes[m.scheme-1].String()
	}
	first := l.modules[hfFused[sub][0]]
	for _, role := range hfFused[sub][1:] {
		if m := l.modules[role]; m.scheme != first.scheme {
			return fmt.Errorf("vllm puts %s and %s into one matrix, and they are stored as %s and %s: give them levels of one form, or export for transformers",
				first.unit, m.unit, names(first), names(m))
		}
	}
	return nil
}

// formats lists the formats in use, each once.
func (e *hfExport) formats() string {
	var all []string
	for _, s := range e.schemes {
		if !slices.Contains(all, s.format) {
			all = append(all, s.format)
		}
	}
	return strings.Join(all, " ")
}

// levelName is a level's name without the bank that it comes from.
func levelName(s string) string {
	name, _, _ := strings.Cut(s, " ")
	return name
}

// compressedShapes are the tensors of a rows x cols module in a scheme, without what they hold: the codes, their scales and, where there
// are any, the zeros and the shape.
func compressedShapes(name string, rows, cols int, s scheme) []array {
	groups := 1
	if s.group > 0 {
		groups = cols / s.group
	}
	scale := array{name: name + ".weight_scale", dtype: "F16", shape: []int{rows, groups}}
	switch s.format {
	case formatFloat:
		scale.dtype = "BF16"
		return []array{{name: name + ".weight", dtype: "F8_E4M3", shape: []int{rows, cols}}, scale}
	case formatInt:
		return []array{{name: name + ".weight", dtype: "I8", shape: []int{rows, cols}}, scale}
	}
	words := func(n int) int { return (n*s.bits + 31) / 32 }
	list := []array{{name: name + ".weight_packed", dtype: "I32", shape: []int{rows, words(cols)}}, scale}
	if !s.symmetric {
		list = append(list, array{name: name + ".weight_zero_point", dtype: "I32", shape: []int{words(rows), groups}})
	}
	return append(list, array{name: name + ".weight_shape", dtype: "I64", shape: []int{2}})
}

// compressedArrays are the tensors of a module in a scheme.
func compressedArrays(name string, w engine.Weights, s scheme) []array {
	rows, cols := w.Shape()
	list := compressedShapes(name, rows, cols, s)
	packed, ok := w.(kernel.Packed)
	if !ok { // planned
		return list
	}
	parts := map[string]kernel.Part{}
	for _, p := range packed.Parts() {
		parts[p.Name] = p
	}
	codes := parts["codes"].Data
	groups := list[1].shape[1]
	list[1].write = whole(parts["scales"].Data)
	switch s.format {
	case formatFloat:
		list[0].write = whole(codes)
		return list
	case formatInt:
		list[0].write = signedBytes(codes)
		return list
	}
	list[0].write = paddedRows(codes, rows, 4*list[0].shape[1])
	if !s.symmetric {
		list[2].write = func(w io.Writer) error {
			_, err := w.Write(packColumns(parts["zeros"].Data, rows, groups, s.bits))
			return err
		}
	}
	shape := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(rows)), uint64(cols))
	list[len(list)-1].write = whole(shape)
	return list
}

// whole writes data.
func whole(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	}
}

// paddedRows writes rows of packed codes, each filled with zeros to so many bytes. A code is the integer
// plus 2^(bits-1), the least significant bits come first: kernel.Grouped and compressed-tensors agree.
func paddedRows(data []byte, rows, bytes int) func(io.Writer) error {
	stride := len(data) / rows
	if stride == bytes {
		return whole(data)
	}
	return func(w io.Writer) error {
		row := make([]byte, bytes)
		for i := range rows {
			copy(row, data[i*stride:(i+1)*stride])
			if _, err := w.Write(row); err != nil {
				return err
			}
		}
		return nil
	}
}

// signedBytes writes codes of 8 bits in two's complement.
func signedBytes(data []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		buf := make([]byte, 0, chunk)
		for part := range slices.Chunk(data, chunk) {
			buf = buf[:0]
			for _, c := range part {
				buf = append(buf, c^0x80)
			}
			if _, err := w.Write(buf); err != nil {
				return err
			}
		}
		return nil
	}
}

// packColumns packs zeros of 4 or 8 bits, which lie in the order of rows and groups, along the rows: row i
// of group g has bits i·b to i·b+b-1 of the 32-bit words of column g.
func packColumns(zeros []byte, rows, groups, b int) []byte {
	out := make([]byte, (rows*b+31)/32*4*groups)
	for i := range rows {
		word := out[i*b/32*4*groups:]
		for g := range groups {
			at := (i*groups + g) * b
			z := zeros[at/8] >> (at % 8) & (1<<b - 1)
			bit := i * b % 32
			word[4*g+bit/8] |= z << (bit % 8)
		}
	}
	return out
}
