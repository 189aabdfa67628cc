package kernel

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Packed is a weight matrix of a linear module in the form in which it is stored. It may refer to
// read-only memory. All methods are safe for concurrent use.
type Packed interface {
	// Shape returns the numbers of output features (rows) and input features (columns).
	Shape() (rows, cols int)
	// DecodeRows writes the n rows from row first on to dst, row-major; dst has at least n*cols
	// elements.
	DecodeRows(first, n int, dst []float32)
	// Bytes is the number of bytes of all parts.
	Bytes() int64
	// NNZ is the number of weights that are stored, which leaves out pruned ones.
	NNZ() int64
	// Format names the form and its parameters. With the shape and the parts it is all that
	// [Unpack] needs.
	Format() string
	// Parts lists what is stored, in a fixed order. Its data must not be changed.
	Parts() []Part
}

// Part is one array of a [Packed] matrix.
type Part struct {
	Name  string // "bitmask", "values", "codes", "scales", "zeros" or "blocks"
	Type  string // safetensors' name of the element type: "U8", "F16" or "BF16"
	Shape []int
	Data  []byte // little-endian
}

// Unpack makes a matrix of what [Packed.Format] and [Packed.Parts] gave; it keeps and never changes
// the parts' data. Whatever the input, it returns an error or a matrix whose methods do not fail.
func Unpack(format string, rows, cols int, parts []Part) (Packed, error) {
	find := func(name, typ string) ([]byte, error) {
		for _, p := range parts {
			if p.Name == name && p.Type == typ {
				return p.Data, nil
			}
		}
		return nil, fmt.Errorf("kernel: a matrix in form %q has no part %q of type %s", format, name, typ)
	}
	var names []string
	var types []string
	var build func(data [][]byte) (Packed, error)
	spec, grouped := strings.CutPrefix(format, "grouped-")
	typeName, ggml := strings.CutPrefix(format, "ggml-")
	switch {
	case format == "bitmask-f16" || format == "bitmask-bf16":
		bf16 := format == "bitmask-bf16"
		names, types = []string{"bitmask", "values"}, []string{"U8", valueType(bf16)}
		build = func(d [][]byte) (Packed, error) { return packed(NewBitmask(rows, cols, bf16, d[0], d[1])) }
	case format == formatFP8:
		names, types = []string{"codes", "scales"}, []string{"U8", "BF16"}
		build = func(d [][]byte) (Packed, error) { return packed(NewFP8(rows, cols, d[0], d[1])) }
	case grouped:
		layout, err := parseLayout(spec)
		if err != nil {
			return nil, err
		}
		names, types = []string{"codes", "scales"}, []string{"U8", "F16"}
		if !layout.Symmetric {
			names, types = append(names, "zeros"), append(types, "U8")
		}
		build = func(d [][]byte) (Packed, error) {
			var zeros []byte
			if len(d) > 2 {
				zeros = d[2]
			}
			return packed(NewGrouped(rows, cols, layout, d[0], d[1], zeros))
		}
	case ggml:
		t, ok := ParseGGMLType(typeName)
		if !ok {
			return nil, fmt.Errorf("kernel: unknown form %q of a matrix", format)
		}
		names, types = []string{"blocks"}, []string{"U8"}
		build = func(d [][]byte) (Packed, error) { return packed(NewGGML(t, rows, cols, d[0])) }
	default:
		return nil, fmt.Errorf("kernel: unknown form %q of a matrix", format)
	}
	if len(parts) != len(names) {
		return nil, fmt.Errorf("kernel: a matrix in form %q has %d parts, want %d", format, len(parts), len(names))
	}
	data := make([][]byte, len(names))
	for i := range names {
		var err error
		if data[i], err = find(names[i], types[i]); err != nil {
			return nil, err
		}
	}
	return build(data)
}

// packed keeps a nil pointer from becoming an interface that is not nil.
func packed[T Packed](p T, err error) (Packed, error) {
	if err != nil {
		return nil, err
	}
	return p, nil
}

// maxWeights bounds the size of a matrix, so that no product of its dimensions and the bits of a weight overflows.
const maxWeights = min(1<<40, math.MaxInt>>4)

// checkShape returns an error unless a matrix can have this shape.
func checkShape(rows, cols int) error {
	if rows <= 0 || cols <= 0 || rows > maxWeights/cols {
		return fmt.Errorf("kernel: no matrix has the shape %d x %d", rows, cols)
	}
	return nil
}

// parseLayout reads what follows "grouped-" in a format: "3b-g64", "3b-gall-sym".
func parseLayout(s string) (Layout, error) {
	bits, rest, ok := strings.Cut(s, "b-g")
	group, symmetric := strings.CutSuffix(rest, "-sym")
	l := Layout{Symmetric: symmetric}
	var err1, err2 error
	l.Bits, err1 = strconv.Atoi(bits)
	if group != "all" {
		l.Group, err2 = strconv.Atoi(group)
	}
	if !ok || err1 != nil || err2 != nil || l.String() != s {
		return Layout{}, fmt.Errorf("kernel: unknown form %q of a matrix", "grouped-"+s)
	}
	return l, nil
}
