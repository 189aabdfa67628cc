package export

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
)

// Formats of [HuggingFace].
const (
	// FormatDense is 16-bit numbers, zeros of sparse levels among them: what every runtime loads.
	FormatDense = "dense"
	// FormatCompressed is compressed-tensors: what vLLM runs, and transformers unpacks.
	FormatCompressed = "compressed-tensors"
)

// Runtimes that a file can be checked for.
const (
	RuntimeTransformers = "transformers"
	RuntimeVLLM         = "vllm"
)

// defaultShard is the size above which weights are cut into several files.
const defaultShard = 5_000_000_000

// HFOptions of [HuggingFace].
type HFOptions struct {
	// Format is FormatDense, also where it is empty, or FormatCompressed, in which levels of 4 and 8 bits
	// keep their size and all others are as in FormatDense.
	Format string
	// Dtype is the type of what is not compressed: BF16, F16 or F32. Empty: that of most of the source's
	// weights, or F16 where these are of none of 16 bits, since it rounds eight times finer than BF16.
	Dtype string
	// Runtime is RuntimeTransformers, also where it is empty, or RuntimeVLLM. What it does not load is
	// refused.
	Runtime string
	// Activations lets the runtime round the inputs of modules with 8 bits and a scale for each row (int8,
	// fp8) to 8 bits as well, token by token, for which it has faster kernels (W8A8). That is no part of
	// what was evaluated.
	Activations bool
	// ShardBytes is the size above which weights are cut into several files; 0: 5 GB.
	ShardBytes int64
	// Files are further files of the folder, as README.md, by name.
	Files map[string][]byte
	// Progress, which may be nil, is told now and then how many bytes of the weights are written; an error
	// that it returns ends the writing.
	Progress func(done, total int64) error
}

// HFResult is what [HuggingFace] has written.
type HFResult struct {
	Files       []string // names in the folder, sorted
	Bytes       int64    // of all files
	WeightBytes int64    // of tensors
	Format      string   // as quantization_config says; FormatDense where there is none
	Dtype       string   // of what is not compressed
	Layers      int      // that are left

	// Modules are the linear modules, the embedding and the head, as they are stored.
	Modules []HFModule
	// Values that are no numbers of Dtype were rounded: in these tensors, how many, and the largest change
	// relative to the value itself (1 where a tiny one became 0) and to the largest value of its tensor.
	Rounded     []string
	Changed     int64
	MaxRelative float64
	MaxError    float64

	// Notes say, a line each, what a user of the folder is to know.
	Notes []string
}

// HFModule is a module of a folder that was written.
type HFModule struct {
	Unit  string // in the source; empty: its sub-block is dropped
	Name  string // in the folder
	Level string // empty: as the checkpoint has it
	Type  string // BF16, F16, F32, or as compressed-tensors packs it: 4b-g64, fp8
	Bytes int64
}

// HuggingFace writes a candidate of a model as a folder that Hugging Face transformers, and what reads its
// files, opens: config.json, safetensors and the tokenizer. What a folder says beyond that goes over as
// it is.
//
// Layers of which nothing is left are taken out and the others renumbered. A dropped sub-block of a layer
// that stays has an output projection of zeros, which is exact and saves nothing. Levels of the embedding
// and the head are written dense.
//
// It is refused, with a line that names what would do, before anything is written: a dir that exists, a
// disk too small, widths that differ between layers, and what o.Runtime does not load. The folder is
// written under a temporary name beside dir and moved: dir is wholly there or not at all.
func HuggingFace(dir string, ck *engine.Checkpoint, cand engine.Candidate, o HFOptions) (HFResult, error) {
	e, err := newHFExport(ck, cand, o)
	if err != nil {
		return HFResult{}, fmt.Errorf("export: %w", err)
	}
	if _, err := os.Lstat(dir); err == nil {
		return HFResult{}, fmt.Errorf("export: %s: %w", dir, fs.ErrExist)
	}
	files, err := e.files()
	if err != nil {
		return HFResult{}, fmt.Errorf("export: %w", err)
	}
	arrays := e.arrays()
	total, need := int64(0), int64(0)
	for _, a := range arrays {
		total += a.bytes()
		need += a.stored() + int64(a.room()) // in the index
	}
	for _, data := range files {
		need += int64(len(data))
	}
	if err := durable.Room(dir, need); err != nil {
		return HFResult{}, fmt.Errorf("export: %w", err)
	}
	err = durable.Folder(dir, func(tmp string) error {
		written := int64(0)
		err := writeWeights(tmp, arrays, e.options.ShardBytes, func(n int64) error {
			if written += n; o.Progress != nil {
				return o.Progress(written, total)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(files)) {
			if err := os.WriteFile(filepath.Join(tmp, name), files[name], 0o644); err != nil {
				return err
			}
		}
		return e.measure(tmp)
	})
	if err != nil {
		var path *fs.PathError // which names a file that is gone
		if errors.As(err, &path) && !errors.Is(err, fs.ErrExist) {
			return HFResult{}, fmt.Errorf("export: %s: %s %s: %w", dir, path.Op, filepath.Base(path.Path), path.Err)
		}
		return HFResult{}, fmt.Errorf("export: %w", err)
	}
	e.result.WeightBytes = total
	e.noteRounding()
	return e.result, nil
}

// hfExport is an export under way.
type hfExport struct {
	ck      *engine.Checkpoint
	config  engine.Config
	cand    engine.Candidate
	options HFOptions
	layers  []hfLayer // that are left, in order
	ffn     int       // width of all of them
	untied  bool      // the head is no longer the embedding
	schemes []scheme  // of compressed modules
	result  HFResult
}

// newHFExport checks the options and lays the layers out.
func newHFExport(ck *engine.Checkpoint, cand engine.Candidate, o HFOptions) (*hfExport, error) {
	if o.Format == "" {
		o.Format = FormatDense
	}
	if o.Runtime == "" {
		o.Runtime = RuntimeTransformers
	}
	if o.ShardBytes == 0 {
		o.ShardBytes = defaultShard
	}
	switch {
	case o.Format != FormatDense && o.Format != FormatCompressed:
		return nil, fmt.Errorf("unknown format %q, want %s or %s", o.Format, FormatDense, FormatCompressed)
	case o.Runtime != RuntimeTransformers && o.Runtime != RuntimeVLLM:
		return nil, fmt.Errorf("unknown runtime %q, want %s or %s", o.Runtime, RuntimeTransformers, RuntimeVLLM)
	case o.Dtype != "" && o.Dtype != "BF16" && o.Dtype != "F16" && o.Dtype != "F32":
		return nil, fmt.Errorf("unknown type %q, want BF16, F16 or F32", o.Dtype)
	case o.ShardBytes < 0:
		return nil, fmt.Errorf("files of %d bytes", o.ShardBytes)
	}
	for name := range o.Files {
		if name != filepath.Base(name) || name == "config.json" || filepath.Ext(name) == ".safetensors" {
			return nil, fmt.Errorf("%q cannot be a further file of a model's folder", name)
		}
	}
	e := &hfExport{ck: ck, config: ck.Config(), cand: cand, options: o}
	if e.options.Dtype == "" {
		e.options.Dtype = sourceDtype(ck)
	}
	e.result.Dtype, e.result.Format = e.options.Dtype, FormatDense
	if err := e.plan(); err != nil {
		return nil, err
	}
	return e, e.assignSchemes()
}

// sourceDtype is the type of 16 bits that most weights of a checkpoint have.
func sourceDtype(ck *engine.Checkpoint) string {
	bytes := map[string]int64{}
	for _, name := range ck.Names() {
		if t, err := ck.Tensor(name); err == nil {
			bytes[t.Type] += t.Bytes()
		}
	}
	if bytes["BF16"] > bytes["F16"] {
		return "BF16"
	}
	return "F16"
}

// measure lists what was written.
func (e *hfExport) measure(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	e.result.Files, e.result.Bytes = nil, 0
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			return err
		}
		e.result.Files = append(e.result.Files, entry.Name())
		e.result.Bytes += info.Size()
	}
	e.result.Layers = len(e.layers)
	return nil
}

// note adds a line for the user.
func (e *hfExport) note(format string, args ...any) {
	e.result.Notes = append(e.result.Notes, fmt.Sprintf(format, args...))
}
