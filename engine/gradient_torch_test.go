package engine

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// torchGradients is what bench/peers/check_gradients.py writes.
type torchGradients struct {
	Windows [][]int32
	Cases   []struct {
		Name             string
		Drop             []string
		Mix, Temperature float64
		Loss             float64
		Parameters       []struct {
			Name   string
			Size   int
			Norm   float64
			At     []int
			Values []float64
		}
	}
}

func TestBuiltinGradientsMatchTorch(t *testing.T) {
	ck, err := Open(Builtin)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	matchTorch(t, ck, filepath.Join("testdata", "builtin_gradients.json"), nil)
}

// TestSmolLM2GradientsMatchTorch compares all elements with those that check_gradients.py has written to a folder.
func TestSmolLM2GradientsMatchTorch(t *testing.T) {
	path, folder := os.Getenv("PARETOPRESS_SMOLLM2"), os.Getenv("PARETOPRESS_GRADIENTS")
	if path == "" || folder == "" {
		t.Skip("PARETOPRESS_SMOLLM2 and PARETOPRESS_GRADIENTS do not name SmolLM2's GGUF file and a folder of bench/peers/check_gradients.py")
	}
	ck, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	raw, err := os.Open(filepath.Join(folder, "gradients.f32"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	matchTorch(t, ck, filepath.Join(folder, "gradients.json"), raw)
}

// matchTorch compares gradients with PyTorch's: norms and samples, and all elements of those that raw has.
func matchTorch(t *testing.T, ck *Checkpoint, file string, raw io.Reader) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var golden torchGradients
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	m, err := Load(ck, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	teacher, err := m.Teach(context.Background(), golden.Windows, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range golden.Cases {
		loss, candidate := Loss{}, Candidate{}
		if c.Name == "mixed" {
			loss = Loss{Teacher: teacher, Temperature: c.Temperature, Mix: c.Mix}
			for _, w := range golden.Windows {
				counted := make([]bool, len(w))
				for p := range counted {
					counted[p] = p%3 != 0
				}
				loss.Counted = append(loss.Counted, counted)
			}
		}
		for _, name := range c.Drop {
			candidate[name] = Level{Name: "drop"}
		}
		got, value := gradients(t, m, golden.Windows, candidate, loss, nil)
		if math.Abs(value.Loss-c.Loss) > 2e-5*c.Loss {
			t.Errorf("%s: loss %v, PyTorch has %v", c.Name, value.Loss, c.Loss)
		}
		if len(got) != len(c.Parameters) {
			t.Errorf("%s: %d gradients, PyTorch has %d", c.Name, len(got), len(c.Parameters))
		}
		worst, where := 0.0, ""
		for _, p := range c.Parameters {
			g := got[p.Name]
			if len(g) != p.Size {
				t.Errorf("%s: the gradient of %s has %d elements, PyTorch's %d", c.Name, p.Name, len(g), p.Size)
				continue
			}
			norm := 0.0
			for _, x := range g {
				norm += float64(x) * float64(x)
			}
			if norm = math.Sqrt(norm); math.Abs(norm-p.Norm) > 1e-4*p.Norm {
				t.Errorf("%s: the gradient of %s has norm %v, PyTorch's %v", c.Name, p.Name, norm, p.Norm)
			}
			for i, at := range p.At {
				if d := math.Abs(float64(g[at]) - p.Values[i]); d > 1e-3*math.Abs(p.Values[i]) {
					t.Errorf("%s: element %d of the gradient of %s is %v, PyTorch's %v", c.Name, at, p.Name, g[at], p.Values[i])
				}
			}
			if raw != nil {
				if e := relativeError(t, g, raw, p.Norm); e > worst {
					worst, where = e, p.Name
				}
			}
		}
		if worst > 1e-4 {
			t.Errorf("%s: the relative error of %s is %.3g", c.Name, where, worst)
		}
		if raw != nil {
			t.Logf("%s: relative errors of %d parameters up to %.3g (%s)", c.Name, len(c.Parameters), worst, where)
		}
	}
}

// relativeError reads as many elements as g has from raw, and compares.
func relativeError(t *testing.T, g []float32, raw io.Reader, norm float64) float64 {
	t.Helper()
	data := make([]byte, 4*len(g))
	if _, err := io.ReadFull(raw, data); err != nil {
		t.Fatal(err)
	}
	want := make([]float32, len(g))
	if err := binary.Read(bytes.NewReader(data), binary.LittleEndian, want); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for i, x := range g {
		d := float64(x) - float64(want[i])
		sum += d * d
	}
	return math.Sqrt(sum) / norm
}
