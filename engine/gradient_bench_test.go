//go:build unix

package engine

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// BenchmarkGradientSmolLM2 is the rate at which windows of 512 tokens, 2 or what PARETOPRESS_WINDOWS says, pass forward and backward:
// with the dense gradients of all parameters ("all") or of the linear modules of the blocks ("linear"), or a share of the latter's elements. Half of
// PARETOPRESS_CACHE_MB, 6144 if not set, is for activations.
// bench/peers/time_gradients.py compares it with PyTorch's.
func BenchmarkGradientSmolLM2(b *testing.B) {
	for _, numerics := range []Numerics{Exact, Fast} {
		for _, what := range []string{"all", "linear", "5%", "1%"} {
			b.Run(fmt.Sprint(numerics, "/", what), func(b *testing.B) { benchmarkGradient(b, numerics, what) })
		}
	}
}

func benchmarkGradient(b *testing.B, numerics Numerics, what string) {
	ck := smolLM2(b)
	number := func(name string, n int) int {
		if s := os.Getenv(name); s != "" {
			var err error
			if n, err = strconv.Atoi(s); err != nil {
				b.Fatal(err)
			}
		}
		return n
	}
	n, cache := number("PARETOPRESS_WINDOWS", 2), number("PARETOPRESS_CACHE_MB", 6<<10)
	numbers := make([]int, n)
	for i := range numbers {
		numbers[i] = i
	}
	windows := windowsOf(b, ck, opticks(b), 512, numbers...)
	m, err := Load(ck, Options{Numerics: numerics, Cache: int64(cache) << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	want := func(name string) bool { return what == "all" || strings.HasSuffix(name, "_proj") }
	var every int
	if share, ok := strings.CutSuffix(what, "%"); ok {
		percent, err := strconv.Atoi(share)
		if err != nil {
			b.Fatal(err)
		}
		every = 100 / percent
	}
	var dst []float32
	var indices []int32
	sink := func(p *Product) error {
		rows, cols := p.Shape()
		if every == 0 {
			p.stream(func([]float32, int, int) {})
			return nil
		}
		indices = indices[:0]
		for i := 0; i < rows*cols; i += every {
			indices = append(indices, int32(i))
		}
		dst = grow(dst, len(indices))
		p.At(dst, indices)
		return nil
	}
	step := func() {
		if _, err := m.Gradient(context.Background(), windows, nil, Loss{}, want, sink); err != nil {
			b.Fatal(err)
		}
	}
	step() // gets the memory
	tokens := 0
	start := cpuTime(b)
	for b.Loop() {
		step()
		tokens += n * 512
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(float64(tokens)/(cpuTime(b)-start).Seconds(), "tokens/cpu-s")
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(u.Maxrss)/1024, "peak-MB") // of this process so far
}
