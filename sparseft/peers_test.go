package sparseft

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestWriteForPEFT writes adapters, the weights that they are for and those that they make, for bench/peers/check_peft.py.
func TestWriteForPEFT(t *testing.T) {
	out := os.Getenv("PARETOPRESS_PEFT_OUT")
	if out == "" {
		t.Skip("PARETOPRESS_PEFT_OUT names no folder")
	}
	for _, m := range []Method{SpIELAG, SpIELMA, LoRA} {
		p := newProblem(50, 2, [2]int{32, 32}, [2]int{48, 32})
		p.targets[0].Name, p.targets[1].Name = "model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj"
		tr := p.train(t, options(m, 10, 200))
		a, err := tr.Delta().PEFT("base")
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(out, string(m))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		write := func(name string, fill func(io.Writer) error) {
			f, err := os.Create(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := fill(f); err != nil {
				t.Fatal(err)
			}
		}
		write("adapter_config.json", func(w io.Writer) error { _, err := w.Write(a.Config); return err })
		write("adapter_model.safetensors", a.WriteWeights)
		var base, trained []entry
		for i, g := range p.targets {
			base = append(base, entry{g.Name, []int{g.Rows, g.Cols}, p.base(i)})
			trained = append(trained, entry{g.Name, []int{g.Rows, g.Cols}, p.work[i]})
		}
		write("base.safetensors", func(w io.Writer) error { return writeEntries(w, nil, base) })
		write("trained.safetensors", func(w io.Writer) error { return writeEntries(w, nil, trained) })
	}
}
