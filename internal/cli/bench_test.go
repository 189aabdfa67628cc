package cli

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/paretopress/paretopress/engine"
)

// quickBench is a bench that takes as little time as it can.
var quickBench = []string{"bench", "--seq-len", "16", "--windows", "1", "--offspring", "2", "--seconds", "0.0001", "--cache-memory", "100MB"}

func TestBenchContract(t *testing.T) {
	o := object(t, dataEnv(t), quickBench...)
	hasKeys(t, o, "cpu", "kernel", "threads", "model", "seq_len", "windows", "offspring", "peak_rss_bytes")
	numerics := o["numerics"].([]any)
	if len(numerics) != 2 {
		t.Fatalf("numerics %v", numerics)
	}
	for i, name := range []string{"exact", "fast"} {
		n := numerics[i].(map[string]any)
		if n["numerics"] != name {
			t.Errorf("numerics %d is %v", i, n["numerics"])
		}
		for _, key := range []string{"peak_gflops_one_thread", "peak_gflops_all_threads", "nll_tokens_per_s", "kl_tokens_per_s",
			"alone_tokens_per_s", "shared_tokens_per_s", "decode_seconds"} {
			if v, ok := n[key].(float64); !ok || v <= 0 {
				t.Errorf("%s: %s is %v", name, key, n[key])
			}
		}
		for _, p := range n["products"].([]any) {
			for _, threads := range []string{"one_thread", "all_threads"} {
				r := p.(map[string]any)[threads].(map[string]any)
				if r["gflops"].(float64) <= 0 || r["share_of_peak"].(float64) <= 0 {
					t.Errorf("%s: %v", name, p)
				}
			}
		}
	}
}

func TestBenchTable(t *testing.T) {
	r := call(t, dataEnv(t), quickBench...)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.err)
	}
	for _, want := range []string{"registers", "gate,up", "head", "offspring together", "peak memory", "decoding rtn-4b-g64"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
}

// TestBenchInterrupted ends with code 130.
func TestBenchInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs strings.Builder
	code := Run(ctx, Options{Args: quickBench, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }})
	if code != exitInterrupted || out.Len() > 0 {
		t.Errorf("code %d, output %q: %s", code, out.String(), errs.String())
	}
}

// TestProducts holds that every module of a model is measured, and the head.
func TestProducts(t *testing.T) {
	ck, err := engine.Open(engine.Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	products := productsOf(ck.Config(), 16)
	find := func(role string, rows, cols int) bool {
		return slices.ContainsFunc(products, func(p benchProduct) bool {
			return p.M == 16 && p.N == rows && p.K == cols && slices.Contains(p.Modules, role)
		})
	}
	for _, m := range ck.Config().Modules() {
		if !find(strings.TrimSuffix(m.Role, "_proj"), m.Rows, m.Cols) {
			t.Errorf("%s is not in %+v", m.Name, products)
		}
	}
	if !find("head", ck.Config().Vocab, ck.Config().Hidden) {
		t.Errorf("the head is not in %+v", products)
	}
}
