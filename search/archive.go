package search

// Evaluation is a scored candidate.
type Evaluation struct {
	Candidate Candidate `json:"candidate"`
	Digest    string    `json:"digest"` // [Space.Phenotype]
	Bytes     int64     `json:"bytes"`  // whole model
	KL        float64   `json:"kl"`     // mean nats a token
	NLL       float64   `json:"nll"`
	Tokens    int64     `json:"tokens"` // it was measured on
	Failed    bool      `json:"failed,omitempty"`
}

// Archive is the Pareto archive of a run: every evaluation goes in, the front comes out.
type Archive struct {
	stages [][]Evaluation
}

// Add takes the evaluations of one stage, which were all scored on the same windows.
func (a *Archive) Add(stage []Evaluation) { a.stages = append(a.stages, stage) }
