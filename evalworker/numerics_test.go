package evalworker

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/workflows"
)

// TestFastAgainstExact makes the table of docs/numerics.md: what fast numerics change on SmolLM2-135M. It takes about
// half an hour on two cores and runs only where PARETOPRESS_SMOLLM2 names the file and PARETOPRESS_LONG is set.
func TestFastAgainstExact(t *testing.T) {
	model := os.Getenv("PARETOPRESS_SMOLLM2")
	if model == "" || os.Getenv("PARETOPRESS_LONG") == "" {
		t.Skip("set PARETOPRESS_SMOLLM2 to SmolLM2-135M-Instruct.Q4_1.gguf and PARETOPRESS_LONG to run the long comparison")
	}
	text := filepath.Join(runtime.GOROOT(), "src", "testdata", "Isaac.Newton-Opticks.txt")
	ctx := context.Background()
	numerics := []string{workflows.NumericsExact, workflows.NumericsFast}
	run := func(numerics string, change func(*workflows.Job)) string {
		t.Helper()
		return newFolder(t, model, func(j *workflows.Job) {
			*j = workflows.Job{Model: model, Text: text, MaxWindows: 48, CalibrationTokens: 16384, Space: workflows.SpaceQuant, Numerics: numerics, Seed: 1,
				Bank: filepath.Join(t.TempDir(), "bank")}
			change(j)
		})
	}
	t.Logf("kernels %s", kernel.Active())

	w := NewWorkbench(Options{})
	defer w.Close()
	none := filepath.Join(t.TempDir(), "none.txt")
	writeFile(t, none, []byte("# all dense\n"))
	single := func(in SingleInput) SingleResult {
		t.Helper()
		in.Model, in.Text, in.SeqLen = model, text, 512
		res, err := w.Single(ctx, in, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	for _, n := range numerics {
		dense := single(SingleInput{Config: none, MaxWindows: 16, Numerics: n})
		t.Logf("dense, %s: NLL %.6f, KL against itself %v", n, dense.NLL.Value, dense.KL.Value)
		if dense.KL.Value != 0 {
			t.Errorf("%s: the dense model's divergence from itself is %v", n, dense.KL.Value)
		}
	}

	var fitness [2][]float64
	for i, n := range numerics {
		folder := run(n, func(j *workflows.Job) {
			j.QuantMethod, j.Target, j.Method, j.Budget = "rtn", "bpw=4", workflows.MethodRandom, 210*512
			j.SeqLen, j.MaxWindows = 256, 32
		})
		if _, err := RunLocal(ctx, folder, 0, Options{}, nil); err != nil {
			t.Fatal(err)
		}
		fitness[i] = allFitness(t, folder)
	}
	n := min(200, len(fitness[0]), len(fitness[1]))
	rho := spearman(fitness[0][:n], fitness[1][:n])
	worst := 0.0
	for i := range n {
		worst = max(worst, math.Abs(fitness[1][i]/fitness[0][i]-1))
	}
	t.Logf("%d random candidates at 4 bits: rank correlation %.6f, KL differs by up to %.2g relative, from %.4f to %.4f", n, rho, worst, slices.Min(fitness[0][:n]), slices.Max(fitness[0][:n]))
	if n < 200 || rho < 0.99 {
		t.Errorf("rank correlation %v of %d candidates", rho, n)
	}

	for _, n := range numerics {
		folder := run(n, func(j *workflows.Job) { j.Target, j.Budget = "bpw=3", 50_000 })
		if _, err := RunLocal(ctx, folder, 0, Options{}, nil); err != nil {
			t.Fatal(err)
		}
		f := decodeFront(t, folder)
		at := slices.IndexFunc(f.Points, func(p Point) bool { return p.Answer })
		r, err := openRun(folder)
		if err != nil {
			t.Fatal(err)
		}
		winner := single(SingleInput{Config: filepath.Join(folder, f.Points[at].Config), Bank: r.bankDir(), MaxWindows: 40, Numerics: workflows.NumericsExact})
		t.Logf("search at 3 bits in %s numerics: held-out KL %.5f ± %.5f in its own, %.5f ± %.5f in exact numerics on windows 0 to 39", n,
			f.Points[at].HeldOut.KL.Value, f.Points[at].HeldOut.KL.Error, winner.KL.Value, winner.KL.Error)
	}
}

// allFitness are the KL divergences of all candidates of a run, in the order in which they were asked.
func allFitness(t *testing.T, folder string) (kl []float64) {
	t.Helper()
	r, err := openRun(folder)
	if err != nil {
		t.Fatal(err)
	}
	part, err := r.windows(partSearch)
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		st, err := r.readStage(n, part)
		if errors.Is(err, fs.ErrNotExist) {
			return kl
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range st.scores {
			kl = append(kl, s.kl().Value)
		}
	}
}

// spearman is the rank correlation of two lists without ties.
func spearman(x, y []float64) float64 {
	ranks := func(v []float64) []int {
		order := make([]int, len(v))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(v[a], v[b]) })
		rank := make([]int, len(v))
		for r, i := range order {
			rank[i] = r
		}
		return rank
	}
	a, b := ranks(x), ranks(y)
	var squares float64
	for i := range a {
		squares += float64((a[i] - b[i]) * (a[i] - b[i]))
	}
	n := float64(len(a))
	return 1 - 6*squares/(n*(n*n-1))
}

func TestSpearman(t *testing.T) {
	if got := spearman([]float64{1, 5, 3, 4}, []float64{10, 50, 30, 40}); got != 1 {
		t.Errorf("equal order: %v", got)
	}
	if got := spearman([]float64{1, 2, 3}, []float64{3, 2, 1}); got != -1 {
		t.Errorf("opposite order: %v", got)
	}
	if got := spearman([]float64{1, 2, 3, 4}, []float64{2, 1, 3, 4}); math.Abs(got-0.8) > 1e-12 {
		t.Errorf("one exchange: %v", got)
	}
}
