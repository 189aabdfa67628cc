//go:build unix

package evalworker

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/paretopress/paretopress/workflows"
)

// BenchmarkTrainSmolLM2 is the rate of whole trainings, as method: steps of 8 windows of 512 tokens on the NLL, 5 % of the parameters trainable where
// the method takes a density, from opening the model to the last checkpoint. PARETOPRESS_STEPS says how many steps, 4 if not set; with fewer than
// 20, SpIEL chooses weights anew every fourth, by what one step in four accumulates; with 21, those after the first are a whole cycle of its default schedule,
// as in the middle of a training. PARETOPRESS_CACHE_MB is the cache, a quarter of
// the machine's memory if it is not set. If PARETOPRESS_PACED is set, each step waits for a line on standard input, as does what comes after the last, and says
// on standard output how long it took: bench/peers/time_training.py has steps alternate with PyTorch's.
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
				j.Density = 0.05
				if steps < 20 {
					j.ReselectionSteps, j.SelectionAccumulationSteps = 4, 1
				} else {
					j.Steps = 2 * steps // a window whose reselection comes after the end would be left out
				}
			case "static-random":
				j.Density = 0.05
			case "lora":
				j.Rank = 8
			}
			folder := b.TempDir()
			if err := WriteFinetuneJob(folder, j); err != nil {
				b.Fatal(err)
			}
			w := preparedBench(b, folder, Options{Cache: number("PARETOPRESS_CACHE_MB", 0) << 20})
			report := Reporter(quietly)
			if os.Getenv("PARETOPRESS_PACED") != "" {
				report = paced(b)
			}
			start := cpuTime(b)
			for b.Loop() {
				out, err := w.Train(b.Context(), workflows.TrainInput{Folder: folder, To: steps}, report)
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

// paced is a reporter that lets a training go on when it reads a line, and writes how many seconds of time and of CPUs passed since.
func paced(b *testing.B) Reporter {
	lines := bufio.NewScanner(os.Stdin)
	wall, cpu := time.Now(), cpuTime(b)
	return func(workflows.Progress) {
		fmt.Println("paced", time.Since(wall).Seconds(), (cpuTime(b) - cpu).Seconds())
		lines.Scan()
		wall, cpu = time.Now(), cpuTime(b)
	}
}
