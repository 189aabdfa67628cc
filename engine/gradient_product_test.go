package engine

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestProductAt compares sampled elements, and products with few rows, with dense rows, of every parameter.
func TestProductAt(t *testing.T) {
	for _, name := range []string{"llama-tied", "llama-bias"} {
		model := gradientModels()[name]
		m := model.load(t, 2)
		windows := model.texts(312, 230) // more positions than are summed at a time
		rng := rand.New(rand.NewPCG(1, 1))
		_, err := m.Gradient(context.Background(), windows, nil, Loss{}, nil, func(p *Product) error {
			rows, cols := p.Shape()
			dense := make([]float32, rows*cols)
			p.Rows(dense, 0, rows)
			var indices []int32
			var want []float32
			for i, x := range dense {
				if rng.IntN(1+len(dense)/2000) == 0 {
					indices, want = append(indices, int32(i)), append(want, x)
				}
			}
			got := make([]float32, len(indices))
			p.At(got, indices)
			if d := distance(got, want); d > 1e-5 {
				t.Errorf("%s: %d elements of %s differ by %.3g from those of its rows", name, len(got), p.Name, d)
			}
			again := make([]float32, len(indices))
			sampleSums = 1 // the three chunks pass in two groups
			p.At(again, indices)
			sampleSums = 1 << 24
			if !slices.Equal(again, got) {
				t.Errorf("%s: elements of %s depend on how many chunks pass at a time", name, p.Name)
			}
			some := make([]float32, 1)
			at := len(indices) / 2
			if p.At(some, indices[at:at+1]); some[0] != got[at] {
				t.Errorf("%s: element %d of %s is %v on its own, %v among others", name, indices[at], p.Name, some[0], got[at])
			}
			const k = 3
			u, v := make([]float32, k*rows), make([]float32, k*cols)
			for _, x := range [][]float32{u, v} {
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
			}
			left, right, wantLeft, wantRight := make([]float32, k*cols), make([]float32, k*rows), make([]float32, k*cols), make([]float32, k*rows)
			for q := range k {
				for i := range rows {
					for j := range cols {
						wantLeft[q*cols+j] += u[q*rows+i] * dense[i*cols+j]
						wantRight[q*rows+i] += v[q*cols+j] * dense[i*cols+j]
					}
				}
			}
			p.Left(left, u, k)
			p.Right(right, v, k)
			if l, r := distance(left, wantLeft), distance(right, wantRight); l > 1e-5 || r > 1e-5 {
				t.Errorf("%s: products of %d rows with %s differ by %.3g and %.3g", name, k, p.Name, l, r)
			}
			from, to := rows/3, rows/3+(rows+1)/2
			part := make([]float32, (to-from)*cols)
			p.Rows(part, from, to)
			if d := distance(part, dense[from*cols:to*cols]); d != 0 {
				t.Errorf("%s: rows %d to %d of %s differ from those of all rows", name, from, to, p.Name)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestGradientWanted has the sink get what is wanted, in backward order, with the values that it has among all.
func TestGradientWanted(t *testing.T) {
	model := gradientModels()["qwen3"]
	m := model.load(t, 2)
	windows := model.texts(12)
	all, _ := gradients(t, m, windows, nil, Loss{}, nil)
	if len(all) != len(model.weights) {
		t.Errorf("%d gradients of %d parameters", len(all), len(model.weights))
	}
	for _, wanted := range [][]string{
		{"lm_head"}, {"model.norm.weight"}, {"model.layers.1.mlp.down_proj", "model.layers.0.self_attn.q_proj"},
		{"model.embed_tokens"}, {"model.layers.1.input_layernorm.weight"}, {"lm_head", "model.layers.1.self_attn.k_norm.weight"}, {},
	} {
		var got []string
		_, err := m.Gradient(context.Background(), windows, nil, Loss{}, func(name string) bool {
			for _, w := range wanted {
				if w == name {
					return true
				}
			}
			return false
		}, func(p *Product) error {
			got = append(got, p.Name)
			rows, cols := p.Shape()
			dst := make([]float32, rows*cols)
			p.Rows(dst, 0, rows)
			if d := distance(dst, all[tensorName(p.Name)]); d != 0 {
				t.Errorf("%v: %s differs by %.3g", wanted, p.Name, d)
			}
			return nil
		})
		if err != nil || strings.Join(got, " ") != strings.Join(wanted, " ") {
			t.Errorf("got %v, %v, want %v", got, err, wanted)
		}
	}
}

func TestGradientRejects(t *testing.T) {
	model := gradientModels()["llama"]
	m := model.load(t, 2)
	windows := model.texts(8, 5)
	teacher, err := m.Teach(context.Background(), windows[:1], nil)
	if err != nil {
		t.Fatal(err)
	}
	unit := "model.layers.1.mlp.up_proj"
	bad := model.clone().level(unit)
	bad.Weights.(plain).data[3*48+1] = float32(math.NaN())
	huge := model.clone().level(unit)
	for i := range huge.Weights.(plain).data {
		huge.Weights.(plain).data[i] = 1e38
	}
	none := [][]bool{make([]bool, 8), make([]bool, 5)}
	for _, c := range []struct {
		name      string
		candidate Candidate
		loss      Loss
		want      string
		notFinite bool
	}{
		{name: "temperature", loss: Loss{Temperature: -1}, want: "a temperature of -1"},
		{name: "mix", loss: Loss{Mix: math.NaN()}, want: "a part of NaN"},
		{name: "not taught", loss: Loss{Teacher: teacher}, want: "window 1 is not one that the teacher was taught"},
		{name: "nothing counts", loss: Loss{Counted: none}, want: "none of the 2 windows has a prediction that counts"},
		{name: "too few counted", loss: Loss{Counted: none[:1]}, want: "2 windows, but 1 that tell what counts"},
		{name: "counted of another length", loss: Loss{Counted: [][]bool{none[0], none[0]}}, want: "window 1 has 5 tokens, but it is told of 8"},
		{name: "predictions", loss: Loss{Predictions: -1}, want: "over -1 predictions"},
		{name: "unit", candidate: Candidate{"model.layers.9.mlp": {}}, want: "model.layers.9.mlp"},
		{name: "NaN", candidate: Candidate{unit: bad}, want: unit + ": row 3", notFinite: true},
		{name: "infinite", candidate: Candidate{unit: huge}, want: "is NaN or infinite", notFinite: true},
	} {
		_, err := m.Gradient(context.Background(), windows, c.candidate, c.loss, nil, func(*Product) error { return nil })
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrNotFinite) != c.notFinite {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
	stop := errors.New("stop")
	if _, err := m.Gradient(context.Background(), windows, nil, Loss{}, nil, func(*Product) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the sink's error became %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	_, err = m.Gradient(ctx, windows, nil, Loss{}, nil, func(*Product) error { n++; cancel(); return nil })
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("error %v after %d gradients of a context that was cancelled at the first", err, n)
	}
}

// TestGradientLateWeights has a sink make weights of the head NaN while it reads their gradient.
func TestGradientLateWeights(t *testing.T) {
	model := gradientModels()["llama"]
	m := model.load(t, 1)
	level := model.clone().level("lm_head")
	_, err := m.Gradient(context.Background(), model.texts(8), Candidate{"lm_head": level}, Loss{}, nil, func(p *Product) error {
		level.Weights.(plain).data[0] = float32(math.NaN())
		p.Rows(make([]float32, 48), 0, 1)
		return nil
	})
	if !errors.Is(err, ErrNotFinite) || !strings.Contains(err.Error(), "lm_head: row 0") {
		t.Errorf("error %v", err)
	}
}

func TestFisher(t *testing.T) {
	model := gradientModels()["llama-tied"]
	m := model.load(t, 2)
	windows := model.texts(9, 14, 6)
	counted := mask(windows)
	got, err := m.Fisher(context.Background(), windows, 2, nil, Loss{Counted: counted}, func(name string) bool { return name != "model.layers.0.mlp.up_proj" })
	if err != nil {
		t.Fatal(err)
	}
	first, _ := gradients(t, m, windows[:2], nil, Loss{Counted: counted[:2]}, nil)
	second, _ := gradients(t, m, windows[2:], nil, Loss{Counted: counted[2:]}, nil)
	if len(got) != len(first)-1 {
		t.Errorf("%d diagonals of %d parameters", len(got), len(first)-1)
	}
	for _, f := range got {
		a, b := first[tensorName(f.Name)], second[tensorName(f.Name)]
		want := make([]float32, len(a))
		for i := range want {
			want[i] = (a[i]*a[i] + b[i]*b[i]) / 2
		}
		if d := distance(f.Diagonal, want); d > 1e-6 || f.Rows*f.Cols != len(want) {
			t.Errorf("%s: %dx%d, differs by %.3g", f.Name, f.Rows, f.Cols, d)
		}
	}
	if _, err := m.Fisher(context.Background(), windows, 0, nil, Loss{}, nil); err == nil {
		t.Error("microbatches of 0 windows are accepted")
	}
}

// TestInner compares with the products of the dense gradient, and with how the loss changes.
func TestInner(t *testing.T) {
	model := gradientModels()["llama"]
	m := model.load(t, 2)
	windows := model.texts(30, 12)
	unit := "model.layers.1.mlp.down_proj"
	base, near := model.level(unit).Weights.(plain), model.clone().level(unit).Weights.(plain)
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range near.data {
		near.data[i] += float32(1e-4 * rng.NormFloat64())
	}
	only := func(name string) bool { return name == unit }
	value, err := m.Gradient(context.Background(), windows, nil, Loss{}, only, func(p *Product) error {
		got, err := p.Inner(base, []Weights{nil, near, base})
		if err != nil {
			return err
		}
		dense := make([]float32, len(base.data))
		rows, _ := p.Shape()
		p.Rows(dense, 0, rows)
		var want [3]float64
		for i, g := range dense {
			want[0] -= float64(g) * float64(base.data[i])
			want[1] += float64(g) * (float64(near.data[i]) - float64(base.data[i]))
		}
		for i, x := range want {
			if math.Abs(got[i]-x) > 1e-4*math.Abs(x) {
				t.Errorf("level %d: %v, want %v", i, got[i], x)
			}
		}
		after, err := model.load(t, 1).Gradient(context.Background(), windows, Candidate{unit: {Name: "near", Weights: near}}, Loss{}, func(string) bool { return false }, nil)
		if err != nil {
			return err
		}
		before, err := model.load(t, 1).Gradient(context.Background(), windows, nil, Loss{}, func(string) bool { return false }, nil)
		if change := after.Loss - before.Loss; math.Abs(change-got[1]) > 0.05*math.Abs(change) {
			t.Errorf("the loss changes by %v, to first order by %v", change, got[1])
		}
		if _, err := p.Inner(plain{1, 1, nil}, nil); err == nil {
			t.Error("weights of another shape are accepted")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if value.Counted != 40 {
		t.Errorf("%d predictions counted", value.Counted)
	}
}
