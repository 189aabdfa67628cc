//go:build unix

package evalworker

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/paretopress/paretopress/workflows"
)

// BenchmarkTrainSmolLM2 is the rate of whole trainings, as method: steps of 8 windows of 512 tokens on the NLL, 5 % of the parameters trainable where
// the method takes a density, from opening the model to the last checkpoint. PARETOPRESS_STEPS says how many steps, 4 if not set; SpIEL
// chooses weights anew every fourth, by what one step in four accumulates, as five in twenty do by default. PARETOPRESS_CACHE_MB is the cache, a quarter of
// the machine's memory if it is not set.
// bench/peers/time_training.py compares it with PyTorch's.
func BenchmarkTrainSmolLM2(b *testing.B) {
	model := os.Getenv("PARETOPRESS_SMOLLM2")
	if model == "" {
		b.Skip("PARETOPRESS_SMOLLM2 does not name a model")
	}
	number := func(name string, n int64) int64 {
		if s := os.Getenv(name); s != "" {
			var err error
			if n, err = strconv.ParseInt(s, 10, 64); err != nil {
				b.Fatal(err)
			}
		}
		return n
	}
	steps := int(number("PARETOPRESS_STEPS", 4))
	for _, method := range []string{"spiel-ag", "spiel-ma", "static-random", "lora", "full"} {
		b.Run(method, func(b *testing.B) {
			j := workflows.FinetuneJob{
				Model: model, Text: filepath.Join(runtime.GOROOT(), "src/testdata/Isaac.Newton-Opticks.txt"), MaxWindows: 64,
				Method: method, Objective: workflows.ObjectiveNLL, Steps: steps, Numerics: "exact",
			}
			switch method {
			case "spiel-ag", "spiel-ma":
				j.Density, j.ReselectionSteps, j.SelectionAccumulationSteps = 0.05, 4, 1
			case "static-random":
				j.Density = 0.05
			case "lora":
				j.Rank = 8
			}
			folder := b.TempDir()
			if err := WriteFinetuneJob(folder, j); err != nil {
				b.Fatal(err)
			}
			w := NewWorkbench(Options{Cache: number("PARETOPRESS_CACHE_MB", 0) << 20})
			defer w.Close()
			if _, err := w.PrepareFinetune(b.Context(), workflows.PrepareFinetuneInput{Folder: folder}, quietly); err != nil {
				b.Fatal(err)
			}
			start := cpuTime(b)
			for b.Loop() {
				out, err := w.Train(b.Context(), workflows.TrainInput{Folder: folder, To: steps}, quietly)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(out.Tokens)/out.Seconds, "tokens/s")
				b.ReportMetric(float64(out.Tokens)/(cpuTime(b)-start).Seconds(), "tokens/cpu-s")
				b.ReportMetric(out.Loss, "loss")
			}
			var u syscall.Rusage
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(u.Maxrss)/1024, "peak-MB") // of this process so far
		})
	}
}
