package evalworker

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/workflows"
)

func TestBench(t *testing.T) {
	steps := int64(0)
	in := BenchInput{Model: tiny(t), SeqLen: 16, Windows: 2, Offspring: 3, Time: time.Microsecond, Resident: func() int64 { return 7 }}
	speeds, err := Bench(context.Background(), in, Options{Threads: 2}, func(p workflows.Progress) {
		if p.Done != steps || p.Total != 10 || p.Note == "" {
			t.Errorf("step %d: %+v", steps, p)
		}
		steps++
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(speeds) != 2 || speeds[0].Numerics != "exact" || speeds[1].Numerics != "fast" || steps != 10 {
		t.Fatalf("%d steps, %+v", steps, speeds)
	}
	for _, s := range speeds {
		if s.NLL <= 0 || s.KL <= 0 || s.Alone <= 0 || s.Shared <= 0 || s.Decode <= 0 || s.Resident != 7 || s.Windows != 2 || s.Unit != "model.layers.1.mlp.down_proj" {
			t.Errorf("%+v", s)
		}
	}
}

// TestBenchShortText scores on as many windows as a text has twice, and says what a shorter one lacks.
func TestBenchShortText(t *testing.T) {
	text := t.TempDir() + "/text"
	in := BenchInput{Model: tiny(t), Text: text, SeqLen: 16, Windows: 4, Offspring: 1, Time: 1, Resident: func() int64 { return 0 }}
	writeFile(t, text, prose(3*16))
	speeds, err := Bench(context.Background(), in, Options{Threads: 1}, quiet)
	if err != nil || speeds[0].Windows != 1 {
		t.Errorf("%+v, %v", speeds, err)
	}
	writeFile(t, text, prose(2*16-1))
	if _, err := Bench(context.Background(), in, Options{Threads: 1}, quiet); !errors.Is(err, ErrJob) {
		t.Errorf("error %v, want ErrJob", err)
	}
}

// TestBenchOffspring holds that offspring differ from their parent in pairs of modules of one size.
func TestBenchOffspring(t *testing.T) {
	ck, err := engine.Open(engine.Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	b := bench{in: BenchInput{Offspring: 50}, parent: map[string]string{}}
	size := map[string]int{}
	for _, m := range ck.Config().Modules() {
		b.parent[m.Name], size[m.Name] = benchLevel(4), m.Rows*m.Cols
	}
	different := map[int]int{}
	for _, o := range b.offspring(ck.Config(), 1) {
		n, bits := 0, 0
		for unit, level := range o {
			switch level {
			case benchLevel(3):
				n, bits = n+1, bits-size[unit]
			case benchLevel(5):
				n, bits = n+1, bits+size[unit]
			}
		}
		if len(o) != len(b.parent) || n > 6 {
			t.Errorf("%d of %d units are other than the parent's", n, len(o))
		}
		if n == 2 && bits != 0 {
			t.Errorf("a pair changes the size by %d", bits)
		}
		different[n]++
	}
	if different[2] == 0 || different[4] == 0 {
		t.Errorf("numbers of changed units: %v", different)
	}
}
