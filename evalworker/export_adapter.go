package evalworker

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/sparseft"
)

// Names of an adapter: what a GGUF file's is called after its model, and the folder of PEFT within that of its model.
const (
	ggufAdapterSuffix = "-lora.gguf"
	peftAdapterDir    = "adapter"
	peftConfigFile    = "adapter_config.json"
	peftWeightsFile   = "adapter_model.safetensors"
)

// adapter is where a delta goes that lies beside the model.
func (in ExportInput) adapter() string { return in.adapterOf(in.Out) }

func (in ExportInput) adapterOf(model string) string {
	if in.Format == FormatHuggingFace {
		return filepath.Join(model, peftAdapterDir)
	}
	return strings.TrimSuffix(model, ".gguf") + ggufAdapterSuffix
}

// beside reports whether the delta is written beside the model, as an adapter of all that it changes: there is a level that does not take it
// in. It refuses a delta that would have to be and of which no runtime loads such a file.
func (in ExportInput) beside(x *subject) (bool, error) {
	if in.Simulated {
		return false, nil
	}
	for _, unit := range x.delta.units() {
		level, ok := x.levels[unit]
		if l, err := ParseLevel(level); !ok || err != nil || l.pruned() {
			continue
		}
		if !x.delta.delta.LowRank() {
			return false, jobErrorf("%s is at level %s, and no runtime loads the delta beside it: --simulated writes it merged, in 16 bits; one of low rank alone (--method lora) is written beside it, as an adapter", unit, level)
		}
		return true, nil
	}
	return false, nil
}

// factors are those of a delta of low rank.
func (d *appliedDelta) factors() (all []engine.Factors) {
	for i := range d.delta.Tensors {
		t := &d.delta.Tensors[i]
		all = append(all, engine.Factors{Module: t.Name, Rows: t.Rows, Cols: t.Cols, Rank: t.Rank, Scale: t.Scale, A: t.A, B: t.B})
	}
	return all
}

// peftAdapter is an adapter of PEFT with the size of its files.
type peftAdapter struct {
	*sparseft.PEFT
	bytes int64
}

// peft is the delta as an adapter for the folder that is written, in which modules have other names where layers are taken out, and are not all there.
// nil modules: all are, and have theirs.
func (x *subject) peft(in ExportInput, modules map[string]string) (p peftAdapter, err error) {
	d := *x.delta.delta
	if modules != nil {
		d.Tensors = nil
		for _, t := range x.delta.delta.Tensors {
			if name, ok := modules[t.Name]; ok {
				t.Name = name
				d.Tensors = append(d.Tensors, t)
			}
		}
	}
	if len(d.Tensors) == 0 {
		return p, jobErrorf("--delta %s: nothing that it changes is in the folder", x.delta.name)
	}
	if p.PEFT, err = d.PEFT(in.Out); err != nil {
		return p, mark(ErrJob, err)
	}
	var n tally
	if err := p.WriteWeights(&n); err != nil {
		return p, err
	}
	p.bytes = int64(n) + int64(len(p.Config))
	return p, nil
}

// tally counts what is written to it.
type tally int64

func (n *tally) Write(b []byte) (int, error) {
	*n += tally(len(b))
	return len(b), nil
}

// writeAdapter writes the delta beside the model at path, of a candidate without it.
func (in ExportInput) writeAdapter(path string, x *subject, plain engine.Candidate, made *exported) error {
	made.adapter, made.merged = in.adapterOf(path), x.merged
	name := filepath.Base(in.adapter())
	if in.Format == FormatGGUF {
		res, err := export.GGUFAdapter(made.adapter, x.slot.checkpoint.Checkpoint, plain, x.delta.factors(), in.gguf())
		if err != nil {
			return mark(ErrJob, err)
		}
		made.adapterBytes = res.Bytes
		made.notes = append(made.notes, fmt.Sprintf("The fine-tuning is in %s (%d bytes), which llama.cpp loads beside the model: -m %s --lora %s.", name, res.Bytes, filepath.Base(in.Out), name))
		return nil
	}
	p, err := x.peft(in, made.modules)
	if err != nil {
		return err
	}
	made.adapterBytes = p.bytes
	if err := writePEFT(made.adapter, p.PEFT); err != nil {
		return err
	}
	made.notes = append(made.notes, fmt.Sprintf("The fine-tuning is in the folder's %s/ (%d bytes), which PEFT loads (PeftModel.from_pretrained(model, %q)) and vLLM (--enable-lora --lora-modules healed=%s).",
		name, p.bytes, in.adapter(), in.adapter()))
	return nil
}

// writePEFT writes the two files of an adapter into a folder.
func writePEFT(dir string, p *sparseft.PEFT) error {
	if err := durable.WriteFrom(filepath.Join(dir, peftWeightsFile), p.WriteWeights); err != nil {
		return fmt.Errorf("evalworker: %w", err)
	}
	if err := durable.Write(filepath.Join(dir, peftConfigFile), p.Config); err != nil {
		return fmt.Errorf("evalworker: %w", err)
	}
	return nil
}

// readAdapter reads the adapter beside a model that was read back, compares it bit for bit with the delta, and merges it onto that model's weights: nil
// where there is none.
func (x *subject) readAdapter(s *slot, made exported) (engine.Candidate, error) {
	if made.adapter == "" {
		return nil, nil
	}
	read, err := readFactors(s, made.adapter)
	if err != nil {
		return nil, fmt.Errorf("evalworker: the adapter that was written cannot be read back: %w", err)
	}
	want := map[string]sparseft.TensorDelta{}
	for _, t := range x.delta.delta.Tensors {
		if name, ok := made.modules[t.Name]; ok {
			want[name] = t
		}
	}
	c := engine.Candidate{}
	for _, t := range read {
		due, ok := want[t.Name]
		if !ok || t.Rows != due.Rows || t.Cols != due.Cols || t.Rank != due.Rank || !slices.Equal(t.A, due.A) || !slices.Equal(t.B, due.B) {
			return nil, fmt.Errorf("evalworker: read back, the adapter has other factors of %s than the delta: it was removed", t.Name)
		}
		dense, err := engine.Dense(s.checkpoint.Checkpoint, t.Name)
		if err != nil {
			return nil, err
		}
		rows, cols := dense.Shape()
		w := &working{rows, cols, make([]float32, rows*cols)}
		dense.DecodeRows(0, rows, w.data)
		t.Merge(w.data)
		c[t.Name] = engine.Level{Name: "with the adapter", Weights: w}
	}
	if len(c) != len(want) {
		return nil, fmt.Errorf("evalworker: read back, the adapter has factors of %d modules, not of %d: it was removed", len(c), len(want))
	}
	return c, nil
}

// readFactors reads an adapter: of a GGUF file, or PEFT's.
func readFactors(s *slot, path string) ([]sparseft.TensorDelta, error) {
	if filepath.Base(path) == peftAdapterDir {
		config, err := os.ReadFile(filepath.Join(path, peftConfigFile))
		if err != nil {
			return nil, err
		}
		weights, err := os.ReadFile(filepath.Join(path, peftWeightsFile))
		if err != nil {
			return nil, err
		}
		return sparseft.ReadPEFT(config, weights)
	}
	factors, err := s.checkpoint.Adapter(path)
	var all []sparseft.TensorDelta
	for _, f := range factors {
		all = append(all, sparseft.TensorDelta{Name: f.Module, Rows: f.Rows, Cols: f.Cols, Rank: f.Rank, Scale: f.Scale, A: f.A, B: f.B})
	}
	return all, err
}
