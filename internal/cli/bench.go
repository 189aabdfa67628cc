package cli

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/cpuid/v2"
	"github.com/spf13/cobra"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/evalworker"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	model, text                string
	seqLen, windows, offspring int
	seconds                    float64
	threads                    int
	cache                      cacheMemory
}

// time is how long a measurement takes at least.
func (o benchOptions) time() time.Duration { return time.Duration(o.seconds * float64(time.Second)) }

func (s *session) benchCommand() *cobra.Command {
	o := benchOptions{threads: runtime.GOMAXPROCS(0)}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast this machine evaluates a model",
		Long: `Bench measures what this machine's processor can do and what of it an evaluation gets, in exact and in fast
numerics: the rate of multiply-adds in registers alone, which no product of matrices can exceed; that of
the products of the model's shapes, as a share of it; tokens a second of the dense model (NLL), of one
candidate with its KL divergence, of candidates that are scored one by one without any cache, and of the offspring of one
parent that are scored together; and memory. Candidates have 3 to 5 bits. Nothing is taken from or added to a bank.`,
		Args: exactly(0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.bench(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.model, "model", workflows.Builtin, modelUsage)
	f.StringVar(&o.text, "text", "", "text file (default: that of the builtin model)")
	f.IntVar(&o.seqLen, "seq-len", 512, "tokens a window")
	f.IntVar(&o.windows, "windows", 4, "windows that a candidate is scored on")
	f.IntVar(&o.offspring, "offspring", 16, "candidates that are scored together")
	f.Float64Var(&o.seconds, "seconds", 1, "time that each measurement takes at least")
	o.cache.flag(f)
	return cmd
}

// benchReport is the result of bench.
type benchReport struct {
	CPU       string          `json:"cpu"`
	Kernel    string          `json:"kernel"`
	Threads   int             `json:"threads"`
	Model     string          `json:"model"`
	SeqLen    int             `json:"seq_len"`
	Windows   int             `json:"windows"`
	Offspring int             `json:"offspring"`
	Numerics  []benchNumerics `json:"numerics"`
	PeakRSS   int64           `json:"peak_rss_bytes"`
}

// benchNumerics is what was measured in one arithmetic. Rates of tokens are those of all threads.
type benchNumerics struct {
	Numerics string         `json:"numerics"`
	PeakOne  float64        `json:"peak_gflops_one_thread"`
	PeakAll  float64        `json:"peak_gflops_all_threads"`
	Products []benchProduct `json:"products"`
	NLL      float64        `json:"nll_tokens_per_s"`
	KL       float64        `json:"kl_tokens_per_s"`
	Alone    float64        `json:"alone_tokens_per_s"`
	Shared   float64        `json:"shared_tokens_per_s"`
	Unit     string         `json:"decoded_unit"`
	Level    string         `json:"decoded_level"`
	Decode   float64        `json:"decode_seconds"`
	Resident int64          `json:"uncached_rss_bytes,omitempty"`
}

func (s *session) bench(ctx context.Context, o benchOptions) error {
	for _, n := range []struct {
		flag       string
		value, min int
	}{{"--seq-len", o.seqLen, 2}, {"--windows", o.windows, 1}, {"--offspring", o.offspring, 1}} {
		if n.value < n.min {
			return usagef("%s: %d, want at least %d", n.flag, n.value, n.min)
		}
	}
	if !(o.seconds > 0 && o.seconds <= 3600) {
		return usagef("--seconds: %v, want more than 0 and at most 3600", o.seconds)
	}
	if o.text != "" {
		if _, err := os.Stat(o.text); err != nil {
			return usagef("--text: %w", err)
		}
	}
	name, model, err := s.fetchModel(ctx, o.model)
	if err != nil {
		return err
	}
	ck, err := engine.Open(model)
	if err != nil {
		return err
	}
	config := ck.Config()
	ck.Close() // it was only read

	p := s.newProgress()
	defer p.close()
	r := benchReport{CPU: cpuid.CPU.BrandName, Kernel: kernel.Active(), Threads: o.threads, Model: name, SeqLen: o.seqLen, Offspring: o.offspring}
	in := evalworker.BenchInput{Model: model, Text: o.text, SeqLen: o.seqLen, Windows: o.windows, Offspring: o.offspring, Time: o.time(), Resident: residentMemory}
	speeds, err := evalworker.Bench(ctx, in, evalworker.Options{Threads: o.threads, Cache: o.cache.bytes},
		func(now workflows.Progress) { p.report("evaluation", now.Unit, now.Done, now.Total, now.Note) })
	if err != nil {
		return err
	}
	p.finish("evaluation", "")
	r.PeakRSS = peakRSS()
	for i, v := range speeds {
		done, total := int64(i), int64(len(speeds))
		n, err := kernels(ctx, config, v.Numerics, o, func(note string) { p.report("kernels", "numerics", done, total, note) })
		if err != nil {
			return err
		}
		n.NLL, n.KL, n.Alone, n.Shared = v.NLL, v.KL, v.Alone, v.Shared
		n.Unit, n.Level, n.Decode, n.Resident = v.Unit, v.Level, v.Decode.Seconds(), v.Resident
		r.Windows, r.Numerics = v.Windows, append(r.Numerics, n)
	}
	p.finish("kernels", "")
	p.close()
	if s.json {
		return s.printJSON(r)
	}
	s.printBench(r)
	return nil
}

// printBench prints the report as tables.
func (s *session) printBench(r benchReport) {
	fmt.Fprintf(s.Stdout, "%s, %s kernels, threads: %d\n\n", r.CPU, r.Kernel, r.Threads)
	all := r.Threads > 1
	heads := []string{"GFLOP/S", "MODULES", "M,N,K", ">1 THREAD", ">OF PEAK"}
	if all {
		heads = append(heads, fmt.Sprintf(">%d THREADS", r.Threads), ">OF PEAK")
	}
	var rows [][]string
	for _, n := range r.Numerics {
		row := []string{n.Numerics, "peak", "registers", fmt.Sprintf("%.1f", n.PeakOne), ""}
		if all {
			row = append(row, fmt.Sprintf("%.1f", n.PeakAll), "")
		}
		rows = append(rows, row)
		for _, p := range n.Products {
			row := []string{n.Numerics, strings.Join(p.Modules, ","), fmt.Sprintf("%d,%d,%d", p.M, p.N, p.K), fmt.Sprintf("%.1f", p.One.GFLOPS), percent(p.One.Share)}
			if all {
				row = append(row, fmt.Sprintf("%.1f", p.All.GFLOPS), percent(p.All.Share))
			}
			rows = append(rows, row)
		}
	}
	table(s.Stdout, heads, rows)
	fmt.Fprintf(s.Stdout, "\n%s, candidates scored on %d tokens in windows of %d\n\n", r.Model, r.Windows*r.SeqLen, r.SeqLen)
	resident := func(n benchNumerics) string {
		if n.Resident == 0 {
			return ""
		}
		return megabytes(n.Resident)
	}
	heads, rows = []string{"TOKENS/S"}, nil
	for _, n := range r.Numerics {
		heads = append(heads, ">"+strings.ToUpper(n.Numerics))
	}
	for _, line := range []struct {
		name string
		cell func(benchNumerics) string
	}{
		{"dense model, NLL", func(n benchNumerics) string { return fmt.Sprintf("%.0f", n.NLL) }},
		{"one candidate, NLL and KL", func(n benchNumerics) string { return fmt.Sprintf("%.0f", n.KL) }},
		{"candidates one by one, no cache", func(n benchNumerics) string { return fmt.Sprintf("%.0f", n.Alone) }},
		{fmt.Sprintf("%d offspring together", r.Offspring), func(n benchNumerics) string { return fmt.Sprintf("%.0f", n.Shared) }},
		{"resident memory then", resident},
		{fmt.Sprintf("decoding %s of a %s", r.Numerics[0].Level, role(r.Numerics[0].Unit)), func(n benchNumerics) string { return fmt.Sprintf("%.2f ms", 1e3*n.Decode) }},
	} {
		row := []string{line.name}
		for _, n := range r.Numerics {
			if cell := line.cell(n); cell != "" {
				row = append(row, cell)
			}
		}
		if len(row) == 1 {
			continue // not known here
		}
		rows = append(rows, row)
	}
	table(s.Stdout, heads, rows)
	fmt.Fprintf(s.Stdout, "peak memory of all this: %s\n", megabytes(r.PeakRSS))
}

// residentMemory is the memory that this process has resident, in bytes; 0 where the system does not say.
func residentMemory() int64 {
	data, err := os.ReadFile("/proc/self/statm") // in pages: size, resident, …
	fields := strings.Fields(string(data))
	if err != nil || len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// percent prints a share.
func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }

// role is the last part of a module's name.
func role(unit string) string { return unit[strings.LastIndexByte(unit, '.')+1:] }
