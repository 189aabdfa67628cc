package evalworker

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Front is the content of front.json: what a run decided. It has nothing of when, where or how fast: the
// same job on the same model and text gives the same bytes. Lists are in order of bytes, then of id.
//
// All KL divergences and NLLs are in nats a token: KL of the dense model's predictions to the
// candidate's, over the whole vocabulary; NLL over positions 1 … L-1 of windows of L tokens.
type Front struct {
	Version     int        `json:"version"`           // of this format: 1
	Model       string     `json:"model"`             // SHA-256 of the model's content
	Text        string     `json:"text"`              // SHA-256 of the text
	HeldOutText string     `json:"held_out_text"`     // SHA-256 of the held-out text; that of Text where both are one
	Space       string     `json:"space"`             // sparsity, quant or drop
	Target      string     `json:"target"`            // as asked for; empty: the whole front
	Method      string     `json:"method"`            // of the search
	Seed        uint64     `json:"seed"`              // of the search
	Numerics    string     `json:"numerics"`          // of the evaluation
	SeqLen      int        `json:"seq_len"`           // tokens of a window
	Windows     TextSplit  `json:"windows"`           // which window served for what
	Units       int        `json:"units"`             // parts that were given a level each
	UnitWeights int64      `json:"unit_weights"`      // weights in them
	FixedBytes  int64      `json:"fixed_bytes"`       // stored bytes of what is not in a unit
	DenseBytes  int64      `json:"dense_bytes"`       // stored bytes of the dense model, 16 bits a weight
	Steps       int        `json:"steps"`             // of the search
	Candidates  int        `json:"candidates"`        // evaluations in the search, failed ones included
	Failed      int        `json:"failed"`            // evaluations without a score
	Tokens      int64      `json:"tokens"`            // that candidates were run on in the search
	Hypervolume float64    `json:"hypervolume"`       // of the points: share of dense bytes times KL, up to (1, ln of the vocabulary)
	Dense       *Measured  `json:"dense"`             // the dense model on held-out text; null if not measured
	Points      []Point    `json:"points"`            // the front
	Baselines   []Baseline `json:"baselines"`         // what the points are compared with
	Healed      []Healed   `json:"healed,omitempty"`  // points after fine-tuning, in the order of Points
	Partial     bool       `json:"partial,omitempty"` // the run had not ended when this was written
}

// TextSplit lists the numbers of the windows of each part of the text.
type TextSplit struct {
	Calibration []int `json:"calibration"`
	Search      []int `json:"search"`
	HeldOut     []int `json:"held_out"`
}

// Measured is what a candidate scored on some windows.
type Measured struct {
	Windows int   `json:"windows"` // how many
	Tokens  int64 `json:"tokens"`  // scored positions
	KL      Mean  `json:"kl"`
	NLL     Mean  `json:"nll"`
}

// Compressed is a compressed model.
type Compressed struct {
	ID      string    `json:"id"`              // first digits of Levels
	Levels  string    `json:"levels"`          // SHA-256 of the units that are not dense, with their levels
	Config  string    `json:"config"`          // file below the run folder that lists them
	Bytes   int64     `json:"bytes"`           // stored, embeddings and all
	Bits    float64   `json:"bits_per_weight"` // stored bits of the units over their weights
	HeldOut *Measured `json:"held_out"`        // null if not measured
}

// Point is a model on the front.
type Point struct {
	Compressed
	Answer  bool      `json:"answer,omitempty"` // the search's answer to its target, or to one of its own
	Search  *Measured `json:"search"`           // on the windows of the search that it was last scored on; null for an answer that the front has no score of
	Uniform *Gain     `json:"uniform"`          // against the uniform candidate of its size; null if not measured
}

// Healed is a point after fine-tuning: its levels with a delta. Pruned and dense weights have the delta merged in, others have it beside them, which
// counts.
type Healed struct {
	ID          string    `json:"id"`              // that of the point, and "-healed"
	Parent      string    `json:"parent"`          // the point
	Config      string    `json:"config"`          // that of the point
	Delta       string    `json:"delta"`           // file below the run folder
	DeltaDigest string    `json:"delta_sha256"`    // of that file
	Method      string    `json:"method"`          // of the training
	Steps       int       `json:"steps"`           // of the training
	Tokens      int64     `json:"tokens"`          // that it learnt from
	Bytes       int64     `json:"bytes"`           // stored, embeddings and all
	Beside      int64     `json:"beside"`          // of these, the part of the delta that is not merged
	Bits        float64   `json:"bits_per_weight"` // stored bits of the units and of Beside over the units' weights
	HeldOut     *Measured `json:"held_out"`
	Gain        *Gain     `json:"gain"` // of the point minus this
}

// Gain is the paired difference, on the same held-out windows, of a baseline minus a point: positive
// where the point is better. Its standard error is that of the difference.
type Gain struct {
	ID    string `json:"id"`    // of the baseline
	Bytes int64  `json:"bytes"` // of the baseline, never more than those of the point
	KL    Mean   `json:"kl"`
	NLL   Mean   `json:"nll"`
}

// Baseline is a model that was not searched for.
type Baseline struct {
	Compressed
	Kinds []string `json:"kinds"` // uniform (as near as one comes to a point's size with every unit alike), level (one level for every unit), random (one of the target's size)
}

// frontVersion is the version of the format of front.json.
const frontVersion = 1

// ReadFront reads the front.json of a run folder.
func ReadFront(folder string) (Front, error) {
	var f Front
	name := filepath.Join(folder, frontFile)
	err := readJSON(name, &f)
	if errors.Is(err, fs.ErrNotExist) {
		return f, fmt.Errorf("evalworker: %s has no %s yet: its run has not been reported", folder, frontFile)
	}
	if err == nil && f.Version != frontVersion {
		err = fmt.Errorf("evalworker: %s has format version %d, this program reads %d", name, f.Version, frontVersion)
	}
	return f, err
}
