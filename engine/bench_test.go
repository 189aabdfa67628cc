//go:build unix

package engine

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// BenchmarkScoreSmolLM2 is the rate of NLL over windows of 512 tokens, which
// bench/peers/time_forward.py compares with PyTorch's. On a busy machine the rate
// per CPU second says more than that per second.
func BenchmarkScoreSmolLM2(b *testing.B) { benchmarkSmolLM2(b, false) }

// BenchmarkKLSmolLM2 is the rate of NLL and KL against a teacher.
func BenchmarkKLSmolLM2(b *testing.B) { benchmarkSmolLM2(b, true) }

func benchmarkSmolLM2(b *testing.B, kl bool) {
	for _, numerics := range []Numerics{Exact, Fast} {
		b.Run(numerics.String(), func(b *testing.B) { benchmarkNumerics(b, numerics, kl) })
	}
}

func benchmarkNumerics(b *testing.B, numerics Numerics, kl bool) {
	ck := smolLM2(b)
	windows := windowsOf(b, ck, opticks(b), 512, 0, 1, 2, 3)
	m, err := Load(ck, Options{Numerics: numerics, Cache: 4 << 30})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close()
	var teacher *Teacher
	if kl {
		if teacher, err = m.Teach(context.Background(), windows, nil); err != nil {
			b.Fatal(err)
		}
	}
	tokens := 0
	start := cpuTime(b)
	for b.Loop() {
		if _, err := m.Score(context.Background(), windows, teacher, []Candidate{nil}, nil); err != nil {
			b.Fatal(err)
		}
		tokens += 4 * 512
	}
	b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
	b.ReportMetric(float64(tokens)/(cpuTime(b)-start).Seconds(), "tokens/cpu-s")
}

// cpuTime is the time that the process has computed, on all threads.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
