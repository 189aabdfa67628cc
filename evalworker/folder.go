package evalworker

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"

	"github.com/paretopress/paretopress/bank"
	"github.com/paretopress/paretopress/engine"
	"github.com/paretopress/paretopress/internal/durable"
	"github.com/paretopress/paretopress/search"
	"github.com/paretopress/paretopress/workflows"
)

// Names in a run folder.
const (
	jobFile         = "job.yaml"
	preparedFile    = "prepared.json"
	spaceFile       = "space.json"
	tokensDir       = "tokens"
	logDir          = "log"
	scoresDir       = "scores"
	configsDir      = "configs"
	finalFile       = "final.json"
	frontFile       = "front.json"
	evaluationsFile = "evaluations.jsonl"
)

// Parts of the text, as asks name them.
const (
	partCalibration = "calibration"
	partSearch      = "search"
	partHeldOut     = "held-out"
)

// prepared is what a run is pinned to: the content of prepared.json. It names inputs by digest and
// never by path, so that it is the same wherever the run is.
type prepared struct {
	Model       string       `json:"model"`                   // SHA-256 of the model
	Text        string       `json:"text"`                    // SHA-256 of the text
	HeldOutText string       `json:"held_out_text,omitempty"` // SHA-256 of the held-out text, if it is another
	SeqLen      int          `json:"seq_len"`
	Numerics    string       `json:"numerics"`
	Calibration []int        `json:"calibration"` // numbers of the windows
	Search      []int        `json:"search"`
	HeldOut     []int        `json:"held_out"`
	Bank        *bank.Header `json:"bank,omitempty"`   // of the bank that levels come from, if any needs calibration
	Space       string       `json:"space"`            // digest of space.json
	Target      string       `json:"target,omitempty"` // of the search, where the job's is also for what healing puts beside the levels
	DenseBytes  int64        `json:"dense_bytes"`      // the model with every weight in 16 bits
	Vocab       int          `json:"vocab"`            // of the model
}

// run is a run folder that has been prepared.
type run struct {
	folder   string
	job      workflows.Job
	prepared prepared
	space    *search.Space
}

// modelKey is the model that the run's slots hold.
func (r *run) modelKey() modelKey {
	return modelKey{ref: r.job.Model, digest: r.prepared.Model, numerics: numericsOf(r.prepared.Numerics)}
}

// numericsOf is the engine's word for validated numerics.
func numericsOf(name string) engine.Numerics {
	n, err := engine.ParseNumerics(name)
	if err != nil {
		panic("evalworker: a validated job has numerics " + name)
	}
	return n
}

// openRun reads what [Prepare] wrote.
func openRun(folder string) (*run, error) {
	r := &run{folder: folder}
	var err error
	if r.job, err = ReadJob(folder); err != nil {
		return nil, err
	}
	if err := readJSON(filepath.Join(folder, preparedFile), &r.prepared); err != nil {
		return nil, err
	}
	name := filepath.Join(folder, spaceFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("evalworker: %w", err)
	}
	if r.space, err = search.ParseSpace(data); err != nil {
		return nil, mark(ErrJob, fmt.Errorf("evalworker: %s: %w", name, err))
	}
	if got := r.space.Digest(); got != r.prepared.Space {
		return nil, mark(ErrChanged, fmt.Errorf("evalworker: %s is not the space that the run began with", name))
	}
	return r, nil
}

// ReadJob reads the job of a run folder, fills in what it leaves to the defaults, and validates it.
func ReadJob(folder string) (workflows.Job, error) {
	j, err := readJobFile(folder, jobFile, "run folder", DecodeJob)
	if err != nil {
		return j, err
	}
	j.SetDefaults()
	if err := j.Validate(); err != nil {
		return j, mark(ErrJob, fmt.Errorf("evalworker: %s: %w", filepath.Join(folder, jobFile), err))
	}
	return j, nil
}

// WriteJob writes the job of a run folder.
func WriteJob(folder string, j workflows.Job) error { return writeJobFile(folder, jobFile, j) }

// DecodeJob reads a job as it stands in a file, without defaults. Unknown keys are errors, since a
// misspelt one would be silently ignored.
func DecodeJob(data []byte) (j workflows.Job, err error) {
	err = decodeStrictly(data, &j)
	return j, err
}

// readJobFile reads the file of a folder that holds its job; what says which folder has such a file.
func readJobFile[T any](folder, file, what string, decode func([]byte) (T, error)) (j T, err error) {
	name := filepath.Join(folder, file)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return j, jobErrorf("%s is not a %s: it has no %s", folder, what, file)
	}
	if err != nil {
		return j, fmt.Errorf("evalworker: %w", err)
	}
	if j, err = decode(data); err != nil {
		return j, mark(ErrJob, fmt.Errorf("evalworker: %s: %w", name, err))
	}
	return j, nil
}

// writeJobFile writes it.
func writeJobFile(folder, file string, job any) error {
	data, err := yaml.Marshal(job)
	if err != nil {
		return fmt.Errorf("evalworker: %s: %w", file, err)
	}
	return durable.Write(filepath.Join(folder, file), data)
}

// decodeStrictly reads YAML all of whose keys must be known.
func decodeStrictly(data []byte, v any) error {
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	return d.Decode(v)
}

// bankID is the id of the run's bank, empty if it needs none.
func (p prepared) bankID() string {
	if p.Bank == nil {
		return ""
	}
	return p.Bank.ID()
}

// BankDir is the folder of the bank of a run that has been prepared, empty if it needs none.
func BankDir(folder string) (string, error) {
	r, err := openRun(folder)
	if err != nil || r.prepared.Bank == nil {
		return "", err
	}
	return r.bankDir(), nil
}

// bankDir is the folder of the run's bank: below the job's folder for banks, or else in the run folder.
func (r *run) bankDir() string {
	dir := r.job.Bank
	if dir == "" {
		dir = filepath.Join(r.folder, "bank")
	}
	return filepath.Join(dir, r.prepared.bankID()[:16])
}

// windows reads the windows of a part of the text.
func (r *run) windows(part string) (Windows, error) {
	numbers := map[string][]int{partCalibration: r.prepared.Calibration, partSearch: r.prepared.Search, partHeldOut: r.prepared.HeldOut}[part]
	if numbers == nil {
		return Windows{}, jobErrorf("there is no part %q of the text", part)
	}
	name := filepath.Join(r.folder, tokensDir, part)
	data, err := os.ReadFile(name)
	if err != nil {
		return Windows{}, fmt.Errorf("evalworker: %w", err)
	}
	w, err := decodeWindows(data, numbers, r.prepared.SeqLen)
	if err != nil {
		return w, mark(ErrDamaged, fmt.Errorf("%w: %s", err, name))
	}
	return w, nil
}

// step is a file of the log: what the optimiser asked, and what it was when it had asked.
type step struct {
	Step  int             `json:"step"`
	State json.RawMessage `json:"state"`
	ask
}

// ask is a list of candidates to be scored.
type ask struct {
	Part   string         `json:"part"` // of the text
	Trials []search.Trial `json:"trials"`
}

// stepFile is the name of a file of the log below the folder.
func stepFile(n int) string { return fmt.Sprintf("%s/%06d.json", logDir, n) }

// readStep reads a file of the log.
func (r *run) readStep(n int) (step, error) {
	var s step
	name := filepath.Join(r.folder, stepFile(n))
	if err := readJSON(name, &s); err != nil {
		return s, err
	}
	if s.Step != n {
		return s, mark(ErrDamaged, fmt.Errorf("evalworker: %s is the log of step %d", name, s.Step))
	}
	return s, nil
}

// lastStep is the last step that the log holds, -1 if none.
func lastStep(folder string) (int, error) {
	for n := 0; ; n++ {
		_, err := os.Stat(filepath.Join(folder, stepFile(n)))
		if errors.Is(err, fs.ErrNotExist) {
			return n - 1, nil
		}
		if err != nil {
			return 0, fmt.Errorf("evalworker: %w", err)
		}
	}
}

// readJSON reads a JSON file; errors name it.
func readJSON(name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("evalworker: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return mark(ErrDamaged, fmt.Errorf("evalworker: %s: %w", name, err))
	}
	return nil
}

// encodeJSON is v as JSON on one line. What it is called with always encodes.
func encodeJSON(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic("evalworker: " + err.Error())
	}
	return append(data, '\n')
}

// publishJSON writes v under a name of the folder for good; see [durable.Publish].
func publishJSON(folder, name string, v any) error {
	if err := durable.Publish(filepath.Join(folder, filepath.FromSlash(name)), encodeJSON(v)); err != nil {
		return fmt.Errorf("evalworker: %w", err)
	}
	return nil
}

// digest is the SHA-256 of the parts, each preceded by its length, in hexadecimal.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d\n", len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))
}
