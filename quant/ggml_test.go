package quant

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/internal/obs"
	"github.com/paretopress/paretopress/internal/obs/obstest"
)

// eachType runs a test for every type of ggml.
func eachType(t *testing.T, f func(t *testing.T, typ kernel.GGMLType)) {
	t.Helper()
	for _, typ := range kernel.GGMLTypes() {
		t.Run(typ.String(), func(t *testing.T) { f(t, typ) })
	}
}

// simple rounds by the largest weight of each block, as the definitions of the types suggest.
func simple(typ kernel.GGMLType, w []float32) []float32 {
	f := forms[typ]
	out := make([]float32, len(w))
	super := f.sub
	if f.super() {
		super = superSize
	}
	for at := 0; at < len(w); at += super {
		var scales, mins []float64
		for s := at; s < at+super; s += f.sub {
			low, high := 0.0, 0.0
			for _, v := range w[s : s+f.sub] {
				low, high = min(low, float64(v)), max(high, float64(v))
			}
			if f.affine {
				scales, mins = append(scales, (high-low)/f.top), append(mins, -low)
			} else {
				scales, mins = append(scales, max(-low, high)/f.top), append(mins, 0)
			}
		}
		// The binary16 numbers make integers of sub-blocks as large as they can be.
		unit := func(x []float64, top int) float64 {
			if !f.super() || top == 0 {
				return 0
			}
			return float64(kernel.DecodeF16(kernel.EncodeF16(float32(slices.Max(x) / float64(top)))))
		}
		d, dmin := unit(scales, f.scaleTop), unit(mins, f.minTop)
		for s := range scales {
			scale, minimum := float64(kernel.DecodeF16(kernel.EncodeF16(float32(scales[s])))), float64(kernel.DecodeF16(kernel.EncodeF16(float32(mins[s]))))
			if d > 0 {
				scale = d * math.RoundToEven(scales[s]/d)
			}
			if dmin > 0 {
				minimum = dmin * math.RoundToEven(mins[s]/dmin)
			}
			if typ == kernel.MXFP4 {
				scale = math.Exp2(math.Ceil(math.Log2(scales[s])))
			}
			for i := at + s*f.sub; i < at+(s+1)*f.sub; i++ {
				if scale == 0 {
					out[i] = -float32(minimum)
					continue
				}
				out[i] = float32(scale*f.k((float64(w[i])+minimum)/scale) - minimum)
			}
		}
	}
	return out
}

// weighted is Σ v·(w-q)² for importances v of columns.
func weighted(w, q []float32, v []float64) float64 {
	sum := 0.0
	for i := range w {
		d := float64(w[i]) - float64(q[i])
		sum += v[i%len(v)] * d * d
	}
	return sum
}

// heavy returns weights as modules have them: some are many times as large as most.
func heavy(r *rand.Rand, n int) []float32 {
	w := make([]float32, n)
	for i := range w {
		w[i] = float32(0.05 * r.NormFloat64() / math.Sqrt(0.2+r.ExpFloat64()))
	}
	return w
}

// TestGGMLErrors holds the searches to what less work gives: rounding by the largest weight, other importances, no feedback.
func TestGGMLErrors(t *testing.T) {
	const rows, cols = 8, 512
	r := rand.New(rand.NewPCG(10, 1))
	w, g := heavy(r, rows*cols), obstest.Gram(r, cols)
	f := obstest.Factor(t, g, cols)
	h := meanSquares(f)
	eachType(t, func(t *testing.T, typ kernel.GGMLType) {
		_, plain := build(t, typ.String(), w, rows, cols, nil)
		_, imatrix := build(t, "imatrix-"+typ.String(), w, rows, cols, f)
		_, gptq := build(t, "gptq-"+typ.String(), w, rows, cols, f)
		byPlain, bySimple := weighted(w, plain, equal(cols)), weighted(w, simple(typ, w), equal(cols))
		withH, withoutH := weighted(w, imatrix, h), weighted(w, plain, h)
		fed, unfed := outputError(w, gptq, g, rows, cols), outputError(w, imatrix, g, rows, cols)
		t.Logf("plain %.3f of simple, imatrix %.3f of plain, gptq %.3f of imatrix", byPlain/bySimple, withH/withoutH, fed/unfed)
		if byPlain > bySimple {
			t.Errorf("rounded with error %v, by the largest weights %v", byPlain, bySimple)
		}
		if withH > withoutH {
			t.Errorf("with importances the weighted error is %v, without %v", withH, withoutH)
		}
		if fed > 0.8*unfed {
			t.Errorf("with feedback the output errs by %v, without by %v", fed, unfed)
		}
	})
}

// TestGGMLKeepsItsGrid builds what a type can hold already.
func TestGGMLKeepsItsGrid(t *testing.T) {
	const rows = 3
	r := rand.New(rand.NewPCG(11, 2))
	eachType(t, func(t *testing.T, typ kernel.GGMLType) {
		f := forms[typ]
		cols := 2 * typ.Block()
		var data []byte
		for range 2 * rows {
			var b kernel.GGMLBlock
			b.Scale, b.Min = kernel.EncodeF16(0.01+0.01*r.Float32()), kernel.EncodeF16(0.1+0.1*r.Float32())
			if typ == kernel.MXFP4 {
				b.Scale = uint16(115 + r.IntN(10))
			}
			for s := range b.Scales { // one of the largest, as in every block that a quantizer made
				b.Scales[s], b.Mins[s] = uint8(f.scaleTop*(s+8)/23+f.scale0), uint8(f.minTop*(s+8)/23)
				if superSize/f.sub == 8 {
					b.Scales[s], b.Mins[s] = uint8(f.scaleTop*(s+4)/11), uint8(f.minTop*(s+4)/11)
				}
			}
			for i := range b.Codes {
				b.Codes[i] = f.code(f.low + (f.top-f.low)*r.Float64())
				if i%f.sub < 2 { // and the whole range of codes
					b.Codes[i] = f.code([]float64{f.low, f.top}[i%f.sub])
				}
			}
			block := make([]byte, typ.BlockBytes())
			typ.Pack(block, &b)
			data = append(data, block...)
		}
		g, err := kernel.NewGGML(typ, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float32, rows*cols)
		g.DecodeRows(0, rows, want)
		_, got := build(t, typ.String(), want, rows, cols, nil)
		off, all := 0.0, 0.0
		for i, w := range want {
			d := float64(got[i] - w)
			off += d * d
			all += float64(w) * float64(w)
		}
		if off > 1e-7*all {
			t.Errorf("a matrix of this type is rounded with error %.2e", off/all)
		}
	})
}

// TestGGMLWithDiagonalHessian: with independent inputs nothing can be made up for, and GPTQ does what rounding with importances does. Those
// of the two differ by the damping, which is far below inputs of like size.
func TestGGMLWithDiagonalHessian(t *testing.T) {
	const rows, cols = 35, 512
	r := rand.New(rand.NewPCG(12, 3))
	g := make([]float32, cols*cols)
	for j := range cols {
		g[j*cols+j] = float32(math.Exp(2 * r.NormFloat64()))
	}
	f, w := obstest.Factor(t, g, cols), heavy(r, rows*cols)
	eachType(t, func(t *testing.T, typ kernel.GGMLType) {
		fed, _ := build(t, "gptq-"+typ.String(), w, rows, cols, f)
		q := &blocks{form: forms[typ], rows: rows, cols: cols, size: typ.Block(), data: make([]byte, typ.Bytes(rows, cols)), importance: conditional(f)}
		q.plain(w)
		if !bytes.Equal(q.data, fed.Parts()[0].Data) {
			t.Error("error feedback changes a matrix though there is nothing to feed back")
		}
		_, gptq := build(t, "gptq-"+typ.String(), w, rows, cols, f)
		_, imatrix := build(t, "imatrix-"+typ.String(), w, rows, cols, f)
		h := meanSquares(f)
		if a, b := weighted(w, gptq, h), weighted(w, imatrix, h); a > 1.02*b || b > 1.005*a {
			t.Errorf("errors by the diagonal: %v with feedback, %v without", a, b)
		}
	})
}

// TestGGMLRowsAreIndependent, whatever rows are built together.
func TestGGMLRowsAreIndependent(t *testing.T) {
	const rows, cols = 34, 256
	r := rand.New(rand.NewPCG(13, 4))
	f, w := obstest.Factor(t, obstest.Gram(r, cols), cols), heavy(r, rows*cols)
	eachType(t, func(t *testing.T, typ kernel.GGMLType) {
		for _, method := range []string{"", "imatrix-", "gptq-"} {
			all, _ := build(t, method+typ.String(), w, rows, cols, f)
			data := all.Parts()[0].Data
			for _, i := range []int{0, 31, 33} {
				one, _ := build(t, method+typ.String(), w[i*cols:(i+1)*cols], 1, cols, f)
				if n := len(data) / rows; !bytes.Equal(one.Parts()[0].Data, data[i*n:(i+1)*n]) {
					t.Errorf("%s%v: row %d depends on the others", method, typ, i)
				}
			}
		}
	})
}

// oddities are rows of 256 weights that a search could stumble over.
func oddities() map[string][]float32 {
	row := func(f func(i int) float32) []float32 {
		w := make([]float32, superSize)
		for i := range w {
			w[i] = f(i)
		}
		return w
	}
	negative := float32(math.Copysign(0, -1))
	return map[string][]float32{
		"zeros":          row(func(int) float32 { return 0 }),
		"negative zeros": row(func(int) float32 { return negative }),
		"equal":          row(func(int) float32 { return 0.25 }),
		"equal negative": row(func(int) float32 { return -0.3 }),
		"positive":       row(func(i int) float32 { return 1 + float32(i%7)/16 }),
		"one weight":     row(func(i int) float32 { return []float32{0, 3}[max(0, 1-i)] }),
		"one large":      row(func(i int) float32 { return []float32{float32(i%5) / 64, 900}[max(0, 1-i)] }),
		"tiny":           row(func(i int) float32 { return float32(i-128) * 1e-9 }),
		"subnormal":      row(func(i int) float32 { return float32(i-128) * 1e-42 }),
		"two values":     row(func(i int) float32 { return float32(i%2)*2 - 1 }),
	}
}

func TestGGMLOddWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(14, 5))
	f := obstest.Factor(t, obstest.Gram(r, superSize, 3, 4, 200), superSize)
	dead := make([]float32, superSize*superSize)
	none := obstest.Factor(t, dead, superSize) // every input was 0
	eachType(t, func(t *testing.T, typ kernel.GGMLType) {
		for name, w := range oddities() {
			size := 0.0
			for _, v := range w {
				size = max(size, math.Abs(float64(v)))
			}
			for _, method := range []string{"", "imatrix-", "gptq-"} {
				for _, factor := range []*obs.Factor{f, none} {
					_, got := build(t, method+typ.String(), w, 1, superSize, factor)
					for i, q := range got {
						// Feedback may take a weight beyond the largest, but not far.
						if x := math.Abs(float64(q)); !(x <= 8*size+1e-6) {
							t.Fatalf("%s%v, %s: weight %d, %v, became %v", method, typ, name, i, w[i], q)
						}
					}
				}
			}
			tolerance := 0.01 // but where neighbours on the grid lie far apart
			switch typ {
			case kernel.IQ4NL:
				tolerance = 0.07
			case kernel.MXFP4:
				tolerance = 0.17
			}
			_, got := build(t, typ.String(), w, 1, superSize, nil)
			if name == "zeros" || name == "negative zeros" {
				if slices.ContainsFunc(got, func(q float32) bool { return q != 0 }) {
					t.Errorf("%v, %s: became %v", typ, name, got)
				}
			}
			if name == "equal" || name == "equal negative" || name == "two values" {
				for i, q := range got {
					if d := math.Abs(float64(q - w[i])); d > tolerance*size {
						t.Errorf("%v, %s: weight %d, %v, became %v", typ, name, i, w[i], q)
						break
					}
				}
			}
		}
	})
}

// TestGGMLHugeWeights: what a type cannot reach is an error or the nearest it can, never an infinity.
func TestGGMLHugeWeights(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 6))
	f := obstest.Factor(t, obstest.Gram(r, superSize), superSize)
	eachType(t, func(t *testing.T, typ kernel.GGMLType) {
		for _, size := range []float32{1e4, 1e6, 1e9, 1e30, math.MaxFloat32} {
			for _, method := range []string{"", "imatrix-", "gptq-"} {
				w := heavy(r, superSize)
				for i := range w {
					w[i] *= size
				}
				w[17] = size
				w[18] = -size
				for i := range w {
					w[i] = min(max(w[i], -size), size)
				}
				s, _ := Parse(method + typ.String())
				p, err := s.Build(w, 1, superSize, f)
				if err != nil {
					if size < 1e6 || p != nil || !(strings.Contains(err.Error(), "does not fit in 16 bits") || strings.Contains(err.Error(), "overflow")) || !strings.Contains(err.Error(), s.String()) {
						t.Errorf("%v, weights up to %g: got %v, %v", s, size, p, err)
					}
					continue
				}
				got := make([]float32, superSize)
				p.DecodeRows(0, 1, got)
				if !kernel.Finite(got) {
					t.Errorf("%v, weights up to %g: not finite", s, size)
				}
			}
		}
	})
}

func TestGGMLRefusesShapes(t *testing.T) {
	for level, cols := range map[string]int{"q4_K": 576, "imatrix-q6_K": 128, "gptq-q8_0": 80, "iq4_nl": 33, "mxfp4": 31} {
		s, err := Parse(level)
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("quant: %s needs rows of a multiple of %d weights, not %d", level, s.ggml.Block(), cols)
		if err := s.Fits(7, cols); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", level, err, want)
		}
		if p, err := s.Build(make([]float32, cols), 1, cols, nil); err == nil || p != nil || err.Error() != want {
			t.Errorf("%s: got %v, %v, want %s", level, p, err, want)
		}
		if err := s.Fits(7, s.ggml.Block()*3); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkGGML builds a module of SmolLM2's shape.
func BenchmarkGGML(b *testing.B) {
	const rows, cols = 576, 1536
	r := rand.New(rand.NewPCG(16, 7))
	w := heavy(r, rows*cols)
	g := make([]float32, cols*cols)
	for i := range cols {
		g[i*cols+i] = 1 + r.Float32()
		for j := range i {
			g[i*cols+j] = (r.Float32() - 0.5) / float32(cols)
			g[j*cols+i] = g[i*cols+j]
		}
	}
	f := obstest.Factor(b, g, cols)
	for _, typ := range kernel.GGMLTypes() {
		for _, method := range []string{"imatrix-", "gptq-"} {
			s, err := Parse(method + typ.String())
			if err != nil {
				b.Fatal(err)
			}
			b.Run(s.String(), func(b *testing.B) {
				b.SetBytes(4 * rows * cols)
				for b.Loop() {
					if _, err := s.Build(w, rows, cols, f); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestGGMLCoarserGrid: weights that lie on a grid of half as many steps are exact. Files in Q4_1, as its definition rounds, are requantized to Q5_1.
func TestGGMLCoarserGrid(t *testing.T) {
	const rows, cols = 16, 256
	r := rand.New(rand.NewPCG(4, 1))
	w := make([]float32, rows*cols)
	for at := 0; at < len(w); at += 32 {
		half := func(x float64) float32 { return kernel.DecodeF16(kernel.EncodeF16(float32(x))) }
		scale, minimum := half(0.01*r.ExpFloat64()), half(-0.1*r.ExpFloat64())
		for i := range 32 {
			k := r.IntN(16)
			if i < 2 {
				k = 15 * i // both ends of the range are in use
			}
			w[at+i] = float32(scale*float32(k)) + minimum
		}
	}
	_, again := build(t, "q5_1", w, rows, cols, nil)
	if e, all := weighted(w, again, equal(cols)), weighted(w, make([]float32, len(w)), equal(cols)); e > 1e-7*all {
		t.Errorf("error %v of weights whose squares sum to %v", e, all)
	}
}
