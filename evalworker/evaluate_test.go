package evalworker

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/kernel"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// prepare prepares a folder and makes its first ask, without building levels.
func prepare(t *testing.T, folder string) (*Workbench, workflows.PrepareResult, workflows.AdvanceResult) {
	t.Helper()
	w := NewWorkbench(Options{Threads: 1})
	t.Cleanup(func() { w.Close() })
	p, err := w.Prepare(context.Background(), workflows.PrepareInput{Folder: folder}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	adv, err := w.Advance(context.Background(), workflows.AdvanceInput{Folder: folder, Step: -1, Budget: 1 << 40}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return w, p, adv
}

// TestScores holds a score against the engine's own, on the windows that it says, with the levels that the
// candidate says.
func TestScores(t *testing.T) {
	model := tiny(t)
	folder := newFolder(t, model, func(j *workflows.Job) { j.QuantMethod = "gptq" })
	w, p, adv := prepare(t, folder)
	for _, r := range p.Ranges {
		res, err := w.BuildLevels(context.Background(), workflows.BuildLevelsInput{Folder: folder, From: r[0], To: r[1]}, quiet)
		if err != nil || res.Units != 14 || res.Levels != 14*5 {
			t.Fatalf("built %+v, %v", res, err)
		}
	}
	in := workflows.EvaluateInput{Folder: folder, Ask: adv.Ask, From: 1, To: 3}
	if res, err := w.Evaluate(context.Background(), in, quiet); err != nil || res.Scored != 2 || res.Reused != 0 || res.Tokens == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if res, err := w.Evaluate(context.Background(), in, quiet); err != nil || res.Scored != 0 || res.Reused != 2 || res.Tokens != 0 {
		t.Fatalf("again: %+v, %v", res, err)
	}
	r, err := openRun(folder)
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.readAsk(adv.Ask)
	if err != nil {
		t.Fatal(err)
	}
	part, err := r.windows(partSearch)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := r.trialDigest(a.Trials[1], part)
	if err != nil {
		t.Fatal(err)
	}
	got, ok, err := r.readScore(digest)
	if err != nil || !ok {
		t.Fatalf("no score: %v", err)
	}
	text := readFile(t, filepath.Join(folder, "text.txt"))
	ck, err := engine.Open(model)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := engine.Load(ck, engine.Options{Threads: 1, Numerics: numericsOf(r.prepared.Numerics)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := bank.Open(p.BankDir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i, number := range got.Windows {
		if number%4 != 2 {
			t.Errorf("window %d is not one of the search's", number)
		}
		var ids []int32
		for _, c := range text[16*number : 16*number+16] {
			ids = append(ids, int32(c))
		}
		teacher, err := m.Teach(context.Background(), [][]int32{ids}, nil)
		if err != nil {
			t.Fatal(err)
		}
		candidate := engine.Candidate{}
		for _, line := range r.space.Config(a.Trials[1].Candidate) {
			if candidate[line[0]], err = bankLevel(b, line[0], line[1]); err != nil {
				t.Fatal(err)
			}
		}
		outcomes, err := m.Score(context.Background(), [][]int32{ids}, teacher, []engine.Candidate{candidate}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := outcomes[0].Windows
		if got.KL[i] != want[0].KL || got.NLL[i] != want[0].NLL || got.Tokens[i] != 15 || !(got.KL[i] > 0) {
			t.Errorf("window %d: KL %v NLL %v, want %+v, %v", number, got.KL[i], got.NLL[i], want, err)
		}
	}
}

func bankLevel(b *bank.Bank, unit, level string) (engine.Level, error) {
	w, err := b.Weights(unit, level)
	return engine.Level{Name: level, Weights: w}, err
}

// TestNotFinite holds that a level that makes the output overflow makes a candidate fail, and not the run.
func TestNotFinite(t *testing.T) {
	folder := newFolder(t, tiny(t), func(j *workflows.Job) { j.QuantMethod, j.Budget = "gptq", 1100 })
	w, p, adv := prepare(t, folder)
	r, err := openRun(folder)
	if err != nil {
		t.Fatal(err)
	}
	b, err := w.bank(r)
	if err != nil {
		t.Fatal(err)
	}
	unit := r.space.Units[3]                    // o_proj, 32 x 32
	huge := bytes.Repeat([]byte{0x7f}, 2*32*32) // every weight is 3.4e38 in bfloat16, so that sums overflow
	bad, err := kernel.NewBitmask(32, 32, true, bytes.Repeat([]byte{0xff}, 32*32/8), huge)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range unit.Levels {
		if err := b.Put(unit.Name, []bank.Entry{{Level: l.Name, Weights: bad}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, blocks := range p.Ranges {
		if _, err := w.BuildLevels(context.Background(), workflows.BuildLevelsInput{Folder: folder, From: blocks[0], To: blocks[1]}, quiet); err != nil {
			t.Fatal(err)
		}
	}
	res, err := w.Evaluate(context.Background(), workflows.EvaluateInput{Folder: folder, Ask: adv.Ask, From: 0, To: adv.Candidates}, quiet)
	if err != nil || res.Failed != adv.Candidates || res.Scored != 0 {
		t.Fatalf("%+v, %v; want %d failed", res, err, adv.Candidates)
	}
	// The search goes on, to a report that says so.
	if _, err := RunLocal(context.Background(), folder, 0, Options{}, nil); err != nil {
		t.Fatal(err)
	}
	if f := decodeFront(t, folder); f.Failed == 0 || f.Failed != f.Candidates || f.Dense == nil {
		t.Errorf("%d of %d candidates failed", f.Failed, f.Candidates)
	}
}

func TestMarkFailed(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	w, _, adv := prepare(t, folder)
	in := workflows.EvaluateInput{Folder: folder, Ask: adv.Ask, From: 2, To: 3}
	if _, err := w.Evaluate(context.Background(), in, quiet); err != nil {
		t.Fatal(err)
	}
	in.From, in.To, in.MarkFailed = 2, 4, true
	if res, err := w.Evaluate(context.Background(), in, quiet); err != nil || res.Reused != 1 || res.Failed != 1 || res.Tokens != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	in.MarkFailed = false
	if res, err := w.Evaluate(context.Background(), in, quiet); err != nil || res.Reused != 2 || res.Failed != 1 {
		t.Errorf("again: %+v, %v", res, err)
	}
}

// TestDamagedScore holds that a score that was cut off is taken again.
func TestDamagedScore(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	w, _, adv := prepare(t, folder)
	in := workflows.EvaluateInput{Folder: folder, Ask: adv.Ask, From: 0, To: 1}
	if _, err := w.Evaluate(context.Background(), in, quiet); err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(folder, scoresDir, "*.json"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	if err := os.Truncate(names[0], 40); err != nil {
		t.Fatal(err)
	}
	if res, err := w.Evaluate(context.Background(), in, quiet); err != nil || res.Scored != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestPartial holds that the windows that were stored before an interruption are not scored again.
func TestPartial(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	w, _, _ := prepare(t, folder)
	r, err := openRun(folder)
	if err != nil {
		t.Fatal(err)
	}
	part, err := r.windows(partSearch)
	if err != nil {
		t.Fatal(err)
	}
	windows := []int{2, 0, 1}
	a := ask{Part: partSearch, Trials: []search.Trial{{Candidate: make(search.Candidate, 14), Windows: windows}, {Candidate: make(search.Candidate, 14), Windows: windows}}}
	a.Trials[1].Candidate[5] = 2
	writeFile(t, filepath.Join(folder, "ask.json"), encodeJSON(a))
	in := workflows.EvaluateInput{Folder: folder, Ask: "ask.json", To: 2}
	evaluate := func() workflows.EvaluateResult {
		t.Helper()
		res, err := w.Evaluate(context.Background(), in, quiet)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := evaluate(); res.Scored != 2 || res.Tokens != 2*3*16 {
		t.Fatalf("%+v", res)
	}
	digest, err := r.trialDigest(a.Trials[0], part)
	if err != nil {
		t.Fatal(err)
	}
	want, ok, err := r.readScore(digest)
	if err != nil || !ok {
		t.Fatal(err)
	}
	begun := want
	begun.Tokens, begun.KL, begun.NLL = want.Tokens[:2], want.KL[:2], want.NLL[:2]
	other := begun
	other.Windows = []int{0, 1, 2}
	short := begun
	short.KL = nil
	for name, c := range map[string]struct {
		partial []byte
		tokens  int64
	}{
		"two windows":   {encodeJSON(begun), 16},
		"none":          {nil, 3 * 16},
		"cut short":     {encodeJSON(begun)[:50], 3 * 16},
		"other windows": {encodeJSON(other), 3 * 16},
		"no numbers":    {encodeJSON(short), 3 * 16},
	} {
		if err := os.Remove(filepath.Join(folder, scoresDir, digest+".json")); err != nil {
			t.Fatal(err)
		}
		if c.partial != nil {
			writeFile(t, r.partialFile(digest), c.partial)
		}
		if res := evaluate(); res.Scored != 1 || res.Reused != 1 || res.Tokens != c.tokens {
			t.Errorf("%s: %+v, want %d tokens", name, res, c.tokens)
		}
		got, ok, err := r.readScore(digest)
		if err != nil || !ok || !slices.Equal(got.KL, want.KL) || !slices.Equal(got.NLL, want.NLL) || !slices.Equal(got.Windows, want.Windows) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, want)
		}
		if _, err := os.Stat(r.partialFile(digest)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the partial score is still there: %v", name, err)
		}
	}
	if err := r.writePartial(begun); err != nil {
		t.Fatal(err)
	}
	if got := r.begun(digest, want.Windows); !slices.Equal(got.KL, want.KL[:2]) {
		t.Errorf("a partial score was read as %+v", got)
	}
}

func TestBadAsk(t *testing.T) {
	folder := newFolder(t, tiny(t), nil)
	w, _, adv := prepare(t, folder)
	for name, a := range map[string]ask{
		"level":   {Part: partSearch, Trials: []search.Trial{{Candidate: make(search.Candidate, 14), Windows: []int{0}}}},
		"units":   {Part: partSearch, Trials: []search.Trial{{Candidate: make(search.Candidate, 3), Windows: []int{0}}}},
		"windows": {Part: partSearch, Trials: []search.Trial{{Candidate: make(search.Candidate, 14), Windows: []int{99}}}},
		"none":    {Part: partSearch, Trials: []search.Trial{{Candidate: make(search.Candidate, 14)}}},
	} {
		if name == "level" {
			a.Trials[0].Candidate[5] = 60
		}
		writeFile(t, filepath.Join(folder, "ask.json"), encodeJSON(a))
		if _, err := w.Evaluate(context.Background(), workflows.EvaluateInput{Folder: folder, Ask: "ask.json", To: 1}, quiet); !errors.Is(err, ErrCandidate) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, in := range []workflows.EvaluateInput{{Ask: adv.Ask, From: 0, To: 99}, {Ask: adv.Ask, From: 2, To: 1}, {Ask: "../job.yaml"}} {
		in.Folder = folder
		if _, err := w.Evaluate(context.Background(), in, quiet); !errors.Is(err, ErrCandidate) {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

// TestSlot holds what a slot makes of configurations, all at once and one by one, to a fresh one.
func TestSlot(t *testing.T) {
	key := modelKey{ref: tiny(t)}
	window := [][]int32{{104, 101, 108, 108, 111, 32, 119, 111, 114, 108, 100}}
	score := func(s *slot, configs ...map[string]string) (nll []float64) {
		t.Helper()
		candidates, err := s.candidates(configs, nil)
		if err != nil {
			t.Fatal(err)
		}
		outcomes, err := s.model.Score(context.Background(), window, nil, candidates, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range outcomes {
			nll = append(nll, o.Windows[0].NLL)
		}
		return nll
	}
	get := func(w *Workbench) *slot {
		t.Helper()
		s, err := w.models.acquire(context.Background(), key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	configs := []map[string]string{
		{},
		{"model.layers.0.self_attn": "drop"},
		{"model.layers.0.self_attn": "drop", "model.layers.0.self_attn.q_proj": "rtn-2b-g16"},
		{"model.layers.0.self_attn.q_proj": "rtn-2b-g16", "model.layers.1.mlp.up_proj": "magnitude-0.50"},
		{"model.layers.0.self_attn.q_proj": "rtn-3b-g16", "model.layers.1.mlp": "drop"},
		{"model.layers.1.mlp.down_proj": "drop", "model.layers.0.mlp.gate_proj": "dense"},
		{"model.layers.1.mlp": "drop"},
	}
	var want []float64
	for _, c := range configs {
		fresh := NewWorkbench(Options{Threads: 1, Cache: -1})
		s := get(fresh)
		want = append(want, score(s, c)...)
		fresh.models.release(s)
		fresh.Close()
	}
	if want[1] != want[2] || want[0] == want[1] || want[5] != want[6] {
		t.Errorf("scores %v: a dropped sub-block hides its modules, and a dropped last module is a dropped sub-block", want)
	}
	w := NewWorkbench(Options{Threads: 1})
	defer w.Close()
	s := get(w)
	defer w.models.release(s)
	for range 2 {
		if got := score(s, configs...); !slices.Equal(got, want) {
			t.Errorf("all at once: %v, want %v", got, want)
		}
		for i, c := range configs {
			if got := score(s, c); got[0] != want[i] {
				t.Errorf("%v scores %v, want %v", c, got[0], want[i])
			}
		}
	}
	if _, err := s.candidates([]map[string]string{{"model.layers.0.mlp.up_proj": "gptq-3b-g16"}}, nil); err == nil || !errors.Is(err, ErrJob) {
		t.Errorf("a level from a bank, without a bank: %v", err)
	}
}

// TestModels holds the number of loaded models to the number of slots.
func TestModels(t *testing.T) {
	a, b := tiny(t), tiny(t)
	w := NewWorkbench(Options{Slots: 2, Threads: 2})
	defer w.Close()
	get := func(ref string) *slot {
		t.Helper()
		s, err := w.models.acquire(context.Background(), modelKey{ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	one, two := get(a), get(a)
	full, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.models.acquire(full, modelKey{ref: a}); !errors.Is(err, context.Canceled) {
		t.Errorf("a third slot of two: %v", err)
	}
	w.models.release(one)
	if s := get(a); s != one {
		t.Error("an idle slot that has the model was not used")
	}
	w.models.release(one)
	w.models.release(two)
	three := get(b) // takes the place of one, which was idle longest
	if four := get(a); four != two {
		t.Error("the slot used last was thrown out")
	}
	if n := len(w.models.checkpoints); n != 2 {
		t.Errorf("%d open model files, want 2", n)
	}
	w.models.release(three)
	w.models.release(two)
	get(b)
	get(b)
	if n := len(w.models.checkpoints); n != 1 {
		t.Errorf("%d open model files, want 1", n)
	}
	if _, err := NewWorkbench(Options{}).models.acquire(context.Background(), modelKey{ref: a, digest: "0123456789abcdef"}); !errors.Is(err, ErrChanged) {
		t.Errorf("a model of another digest: %v", err)
	}
}

func TestMean(t *testing.T) {
	m := meanOf([]float64{10, 14, 12}, []int{10, 10, 10})
	if want := 0.2 / math.Sqrt(3); math.Abs(m.Value-1.2) > 1e-15 || math.Abs(m.Error-want) > 1e-15 {
		t.Errorf("%+v, want 1.2 ± %v: the windows' standard deviation over √3", m, want)
	}
	if m := meanOf([]float64{10}, []int{5}); m != (Mean{2, 0}) {
		t.Errorf("one window: %+v", m)
	}
	d := difference([]float64{5, 7, 9}, []float64{4, 6, 8}, []int{2, 2, 2})
	if math.Abs(d.Value-0.5) > 1e-15 || d.Error > 1e-15 {
		t.Errorf("a constant difference: %+v", d)
	}
	if got := secondsPerToken([]Score{{Seconds: 2, Tokens: []int{1}}, {Failed: "x"}, {Seconds: 1, Tokens: []int{1}}, {Seconds: 90, Tokens: []int{1}}}); got != 2 {
		t.Errorf("median speed %v", got)
	}
}

func TestBatches(t *testing.T) {
	r := &run{prepared: prepared{SeqLen: 100}, job: workflows.Job{Workers: 1}}
	trials := make([]search.Trial, 20)
	for i := range trials {
		trials[i].Windows = []int{0, 1}
	}
	for _, c := range []struct {
		workers int
		seconds float64
		want    int // size of the first batch
	}{{1, 0, 20}, {1, 0.06, 5}, {1, 1, 1}, {2, 0, 5}, {4, 0.001, 3}, {4, 0.15, 2}} {
		r.job.Workers = c.workers
		got := r.batches(trials, c.seconds)
		at := 0
		for _, b := range got {
			if b[0] != at || b[1] <= b[0] {
				t.Fatalf("batches %v", got)
			}
			at = b[1]
		}
		if at != 20 || got[0][1] != c.want {
			t.Errorf("%d workers, %v s a token: %v, want batches of %d", c.workers, c.seconds, got, c.want)
		}
	}
}

func TestParallel(t *testing.T) {
	var seen [50]bool
	if err := parallel(context.Background(), 4, 50, func(i int) error { seen[i] = true; return nil }); err != nil || slices.Contains(seen[:], false) {
		t.Errorf("%v, %v", seen, err)
	}
	bad := errors.New("bad")
	if err := parallel(context.Background(), 1, 50, func(i int) error {
		if i > 10 {
			t.Errorf("%d was begun after the error", i)
		}
		if i == 10 {
			return bad
		}
		return nil
	}); err != bad {
		t.Error(err)
	}
}
