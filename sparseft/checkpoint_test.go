package sparseft

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

// variants are trainings that between them have all of the state there is.
func variants() map[string]Options {
	out := map[string]Options{}
	for _, m := range Methods {
		o := options(m, 15, 40)
		o.Accumulation, o.WeightDecay, o.Warmup, o.Scheduler = 3, 0.1, 2, Cosine
		out[string(m)] = o
	}
	o := out["spiel-ag"]
	o.Candidates, o.CandidateFactor, o.CrossTensor, o.ReselectionRatePolicy = FirstMicrobatch, 2, true, Cosine
	out["spiel-ag first-microbatch"] = o
	o = out["dsee"]
	o.Candidates, o.LowRank = FirstMicrobatch, MergedMasked
	out["dsee merged-masked"] = o
	return out
}

// TestResume kills a training after every microbatch and before and after every step, and holds the end to be the one of a
// training that was never killed, by the SHA-256 of its whole state.
func TestResume(t *testing.T) {
	for name, o := range variants() {
		make := func() *problem {
			p := newProblem(20, 2, [2]int{10, 8}, [2]int{7, 9})
			if o.LowRank == MergedMasked {
				for i, g := range p.targets {
					p.targets[i].Mask = halfMask(g.Rows, g.Cols)
					p.targets[i].Mask.clear(p.base(i), 0)
					p.targets[i].Mask.clear(p.work[i], 0)
				}
			}
			return p
		}
		p := make()
		want := sha256.Sum256(state(t, p.train(t, o)))

		p = make()
		tr := start(t, p, o)
		kill := func() {
			t.Helper()
			b := state(t, tr)
			var err error
			if tr, err = Restore(p.targets, o, slices.Clone(b)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !bytes.Equal(state(t, tr), b) {
				t.Fatalf("%s: what was restored is not what was saved", name)
			}
			for i, g := range p.targets { // the working copy is lost too
				clear(p.work[i])
				tr.Weights(i, p.work[i], 0, g.Rows)
			}
		}
		kills := 0
		for !tr.Done() {
			for !tr.Due() {
				kill()
				p.microbatch(t, tr)
				kills++
			}
			kill()
			p.step(t, tr)
		}
		kill()
		if kills != o.Steps*o.Accumulation {
			t.Errorf("%s: %d kills", name, kills)
		}
		if got := sha256.Sum256(state(t, tr)); got != want {
			t.Errorf("%s: the resumed training is another", name)
		}
	}
}

// TestSnapshot writes what was between two steps while the gradients of the next are added.
func TestSnapshot(t *testing.T) {
	for name, o := range variants() {
		p := newProblem(23, 2, [2]int{10, 8}, [2]int{7, 9})
		if o.LowRank == MergedMasked {
			for i, g := range p.targets {
				p.targets[i].Mask = halfMask(g.Rows, g.Cols)
			}
		}
		tr := start(t, p, o)
		for !tr.Done() {
			want := state(t, tr)
			write, err := tr.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			done := make(chan error)
			go func() { done <- write(&got) }()
			for !tr.Due() {
				p.microbatch(t, tr)
			}
			if err := <-done; err != nil || !bytes.Equal(got.Bytes(), want) {
				t.Fatalf("%s: %d bytes (%v), want %d others", name, got.Len(), err, len(want))
			}
			p.step(t, tr)
		}
	}
}

// TestRestoreSums reads a checkpoint that has the sums of gradients between two steps too, which earlier ones have.
func TestRestoreSums(t *testing.T) {
	for name, o := range variants() {
		if o.LowRank == MergedMasked {
			continue
		}
		p := newProblem(24, 2, [2]int{10, 8})
		tr := start(t, p, o)
		p.step(t, tr)
		p.step(t, tr)
		want := state(t, tr)
		metadata, entries, err := readEntries(want[len(checkpointMagic) : len(want)-sha256.Size])
		if err != nil {
			t.Fatal(err)
		}
		all := &arrays{prefix: "0."}
		tr.tuners[0].arrays(all)
		if len(all.entries) <= len(entries) {
			t.Errorf("%s: %d arrays with sums, %d without", name, len(all.entries), len(entries))
		}
		var old bytes.Buffer
		if err := writeEntries(&old, metadata, all.entries); err != nil {
			t.Fatal(err)
		}
		again, err := Restore(p.targets, o, seal(old.Bytes()))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(state(t, again), want) {
			t.Errorf("%s: another state", name)
		}
	}
}

// TestRestoreErrors holds that damaged checkpoints and those of other runs are refused, and say why.
func TestRestoreErrors(t *testing.T) {
	p := newProblem(21, 2, [2]int{10, 8})
	o := options(SpIELAG, 12, 20)
	tr := start(t, p, o)
	p.step(t, tr)
	good := state(t, tr)
	if _, err := Restore(p.targets, o, good); err != nil {
		t.Fatal(err)
	}
	for at := range good { // every byte counts
		bad := slices.Clone(good)
		bad[at] ^= 4
		if _, err := Restore(p.targets, o, bad); err == nil {
			t.Fatalf("byte %d of %d may be anything", at, len(good))
		}
	}
	other := o
	other.LearningRate = 0.02
	mask := newProblem(21, 2, [2]int{10, 8})
	mask.targets[0].Mask = halfMask(10, 8)
	name := newProblem(21, 2, [2]int{10, 8})
	name.targets[0].Name = "other"
	for _, c := range []struct {
		targets []Target
		o       Options
		data    []byte
		want    string
	}{
		{p.targets, other, good, "of another run: its learning_rate is 0.01, here it is 0.02"},
		{mask.targets, o, good, "its tensors are not these"},
		{name.targets, o, good, "its tensors are not these"},
		{p.targets, o, nil, "0 bytes that are none"},
		{p.targets, o, good[:len(good)-1], "damaged or truncated"},
		{p.targets, o, append([]byte(checkpointMagic[:15]+"\x09"), good[16:]...), "of version 9, want 1"},
	} {
		if _, err := Restore(c.targets, c.o, c.data); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %q", err, c.want)
		}
	}
}

// seal makes a checkpoint of any content, so that what lies behind the checksum is tested too.
func seal(content []byte) []byte {
	b := append([]byte(checkpointMagic), content...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func FuzzRestore(f *testing.F) {
	p := newProblem(22, 1, [2]int{4, 5})
	o := options(SpIELAG, 8, 6)
	o.Accumulation = 2
	tr := start(f, p, o)
	p.step(f, tr)
	p.microbatch(f, tr)
	good := state(f, tr)
	content := good[len(checkpointMagic) : len(good)-sha256.Size]
	f.Add(content)
	f.Add(bytes.Replace(content, []byte(`"index":`), []byte(`"delta":`), 1))
	f.Fuzz(func(t *testing.T, content []byte) {
		tr, err := Restore(p.targets, o, seal(content))
		if err != nil {
			return
		}
		// What is taken for a state can be trained on. The clone's work is left as it is.
		q := newProblem(22, 1, [2]int{4, 5})
		for range 3 {
			for !tr.Done() && !tr.Due() {
				step, micro := tr.Cursor()
				g, _ := q.gradient(step+micro, step+micro+1)
				if tr.Add(0, g[0]) != nil || tr.EndMicrobatch(1, 1) != nil {
					return
				}
			}
			if tr.Done() {
				return
			}
			if _, err := tr.Step(); err != nil {
				return
			}
		}
	})
}
