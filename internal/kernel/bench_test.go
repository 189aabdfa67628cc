package kernel

import (
	"fmt"
	"testing"
)

// The shapes of SmolLM2-135M for a window of 512 tokens: q and o, k and v, gate and up, down, and the head.
var benchShapes = []struct{ m, n, k int }{
	{512, 576, 576}, {512, 192, 576}, {512, 1536, 576}, {512, 576, 1536}, {512, 49152, 576},
}

// BenchmarkMatMul reports GFLOP/s on one thread. Panels go eight at a time, as a pool's tasks do, and the head's
// logits into a tile that stays in cache, as the fused head does.
func BenchmarkMatMul(b *testing.B) {
	before := Active()
	defer func() {
		if err := Use(before); err != nil {
			b.Fatal(err)
		}
	}()
	for _, name := range Variants() {
		for _, s := range benchShapes {
			if name == "go" && s.n > 192 {
				continue // minutes
			}
			b.Run(fmt.Sprintf("%s/%dx%dx%d", name, s.m, s.n, s.k), func(b *testing.B) {
				if err := Use(name); err != nil {
					b.Fatal(err)
				}
				r := newSource(1)
				a := make([]float32, s.m*s.k)
				r.normal(a, 1)
				w := NewPanels(s.n, s.k)
				for i := range w.Data {
					w.Data[i] = r.Float32() - 0.5
				}
				const step = 8
				ldc := min(s.n, 2048)
				c := make([]float32, s.m*ldc)
				for b.Loop() {
					for p := 0; p < w.Panels(); p += step {
						v := w.View(p, min(p+step, w.Panels()))
						MatMul(c[p*PanelWidth%ldc:], ldc, a, s.k, s.m, &v, 0, v.Panels(), false)
					}
				}
				b.ReportMetric(2*float64(s.m)*float64(s.n)*float64(s.k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

func BenchmarkPack(b *testing.B) {
	for _, s := range benchShapes[:4] {
		b.Run(fmt.Sprintf("%dx%d", s.n, s.k), func(b *testing.B) {
			src := make([]float32, s.n*s.k)
			w := NewPanels(s.n, s.k)
			b.SetBytes(int64(4 * len(src)))
			for b.Loop() {
				w.Pack(0, src, s.n)
			}
		})
	}
}

// BenchmarkVector runs the elementwise functions and reductions on a length that stays in the first-level cache.
func BenchmarkVector(b *testing.B) {
	before := Active()
	defer func() {
		if err := Use(before); err != nil {
			b.Fatal(err)
		}
	}()
	const n = 1536
	x, y, z := make([]float32, n), make([]float32, n), make([]float32, n)
	r := newSource(1)
	r.normal(x, 3)
	r.normal(y, 3)
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"Exp", func() { Exp(z, x) }},
		{"SiLUMul", func() { SiLUMul(z, x, y) }},
		{"RMSNorm", func() { RMSNorm(z, x, y, 1e-5) }},
		{"MaxSumExp", func() { MaxSumExp(x) }},
		{"KLSum", func() { KLSum(x, y, 12) }},
		{"Softmax", func() { copy(z, x); new(Online).Add(z) }},
		{"Add", func() { Add(z, x) }},
		{"Rope", func() { Rope(z, x[:n/2], y[:n/2]) }},
	} {
		for _, name := range Variants() {
			b.Run(c.name+"/"+name, func(b *testing.B) {
				if err := Use(name); err != nil {
					b.Fatal(err)
				}
				b.SetBytes(4 * n)
				for b.Loop() {
					c.f()
				}
			})
		}
	}
}
