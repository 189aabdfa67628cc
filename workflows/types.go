package workflows

import "time"

// RunInput is the input of [Compress]. It says where the run folder is; the job itself is in the
// folder's job.yaml, which the activities read. What repeats the job here is for people: it is
// shown in the Temporal UI and decides nothing but Budget.
type RunInput struct {
	Folder string `json:"folder"`           // absolute path of the run folder, the same on every worker
	ID     string `json:"id"`               // the run's id, which is the workflow's id
	Model  string `json:"model"`            // short name of the model
	Space  string `json:"space"`            // sparsity, quant, drop
	Target string `json:"target,omitempty"` // as given
	Method string `json:"method"`           // evopress, random
	Seed   uint64 `json:"seed"`
	Budget int64  `json:"budget"` // tokens; the update "extend" adds to it
	Heal   string `json:"heal,omitempty"`
	Tuning Tuning `json:"tuning,omitzero"`
	// Attributes says that the namespace has the search attributes of this package, so that the
	// workflows may set them: see [RegisterAttributes]. Setting one that is missing would block them.
	Attributes bool `json:"attributes,omitempty"`
}

// Tuning changes how activities are watched and retried, never what comes out. Zero fields take
// the defaults in brackets.
type Tuning struct {
	Heartbeat   time.Duration `json:"heartbeat,omitempty"`     // silence after which a worker is given up [10 s]
	Timeout     time.Duration `json:"timeout,omitempty"`       // longest one attempt of Evaluate or BuildLevels may take [6 h]
	Retry       time.Duration `json:"retry,omitempty"`         // wait before the second attempt, doubled each time up to 30 s [1 s]
	Attempts    int           `json:"attempts,omitempty"`      // attempts of an activity before it counts as failed [5]
	StepsPerRun int           `json:"steps_per_run,omitempty"` // steps before continue-as-new; 0 = when Temporal suggests it
}

// RunResult is the result of [Compress]: a summary of what the run folder holds.
type RunResult struct {
	Folder  string       `json:"folder"`
	Steps   int          `json:"steps"`
	Tokens  int64        `json:"tokens"` // tokens of candidates run forward in the search
	Stopped bool         `json:"stopped,omitempty"`
	Report  ReportResult `json:"report"`
}

// PrepareInput is the input of activity [ActivityPrepare], which reads job.yaml, opens the model and
// the text, writes space.json and tokens/ into the folder, and says what is left to do.
type PrepareInput struct {
	Folder string `json:"folder"`
}

// PrepareResult is the result of [ActivityPrepare].
type PrepareResult struct {
	ModelDigest string   `json:"model_digest"`
	BankID      string   `json:"bank_id,omitempty"` // digest of what the bank's content depends on; names the BuildBank workflow
	BankDir     string   `json:"bank_dir,omitempty"`
	Blocks      int      `json:"blocks"`           // transformer blocks of the model
	Ranges      [][2]int `json:"ranges,omitempty"` // block ranges [from,to) whose levels are to be built, one BuildLevels each; none: no bank is needed or it is complete
	Step        int      `json:"step"`             // last step present in log/, -1 if none: where to resume
	Model       string   `json:"model"`            // "SmolLM2-135M-Instruct llama 134.5 M parameters"
	SpaceText   string   `json:"space_text"`       // "210 modules x 5 levels (gptq, 2-6 bits, group 64), target bpw=3"
	DenseBytes  int64    `json:"dense_bytes"`      // the model with every unit dense in 16 bits
}

// BankInput is the input of [BuildBank].
type BankInput struct {
	Folder string   `json:"folder"` // a run folder that asks for this bank
	BankID string   `json:"bank_id"`
	Ranges [][2]int `json:"ranges"`
	Tuning Tuning   `json:"tuning,omitzero"`
}

// BankResult is the result of [BuildBank]: the sums over its ranges.
type BankResult struct {
	Units   int     `json:"units"`
	Levels  int     `json:"levels"`
	Bytes   int64   `json:"bytes"`   // stored by this build
	Reused  int     `json:"reused"`  // levels that the bank already had
	Seconds float64 `json:"seconds"` // of work, summed over activities
}

// BuildLevelsInput is the input of activity [ActivityBuildLevels], which calibrates the blocks
// [From,To) and puts every level of their units that the bank lacks into it.
type BuildLevelsInput struct {
	Folder string `json:"folder"`
	From   int    `json:"from"`
	To     int    `json:"to"`
}

// BuildLevelsResult is the result of [ActivityBuildLevels].
type BuildLevelsResult = BankResult

// SearchInput is the input of [Search].
type SearchInput struct {
	Run   RunInput `json:"run"`
	State State    `json:"state"`
}

// State is what a search carries over continue-as-new. Candidates, scores and random state are in
// the run folder; this says how far it has come and what to show.
type State struct {
	Step       int        `json:"step"`       // last step whose candidates are all scored, -1 at the start
	Steps      int        `json:"steps"`      // steps done by this workflow, over all its runs
	Generation int        `json:"generation"` // as the optimiser counts
	Stage      string     `json:"stage,omitempty"`
	Candidates int64      `json:"candidates"` // asked for by this workflow
	Failed     int        `json:"failed"`     // candidates recorded as failed
	Tokens     int64      `json:"tokens"`     // spent, as the log counts: resumed runs included
	Best       float64    `json:"best"`       // fitness of the best candidate (KL or NLL, nats a token)
	Front      []FrontRow `json:"front,omitempty"`
	Control    Control    `json:"control"`
	Started    time.Time  `json:"started,omitzero"`  // when the first run began
	Reported   time.Time  `json:"reported,omitzero"` // when the parent was last told
}

// SearchResult is the result of [Search].
type SearchResult struct {
	State
}

// Control is what the user wants of a run. [Compress] owns it and sends it to its search whole, so
// that the latest one received is all there is to know.
type Control struct {
	Seq    int   `json:"seq"` // counts the changes
	Paused bool  `json:"paused,omitempty"`
	Stop   bool  `json:"stop,omitempty"` // finish now with the front so far
	Budget int64 `json:"budget"`         // tokens
}

// ExtendInput is the argument of [UpdateExtend].
type ExtendInput struct {
	Tokens int64 `json:"tokens"` // added to the budget
}

// AdvanceInput is the input of activity [ActivityAdvance]. It loads log step Step (nothing for -1) and
// the scores of its candidates, tells them to the optimiser, asks for the next candidates, and writes
// log step Step+1: a pure function of the folder and the budget, so that doing it again does nothing.
// To resume at the last step L of a log the workflow calls it with Step L-1.
type AdvanceInput struct {
	Folder string `json:"folder"`
	Step   int    `json:"step"`
	Budget int64  `json:"budget"` // in tokens: a search that has spent it is done
}

// AdvanceResult is the result of [ActivityAdvance].
type AdvanceResult struct {
	Step       int        `json:"step"`                 // AdvanceInput.Step + 1, or AdvanceInput.Step if Done
	Ask        string     `json:"ask,omitempty"`        // path of the ask below the folder: log/000012.json
	Batches    [][2]int   `json:"batches,omitempty"`    // ranges [from,to) of the ask's candidates, one Evaluate each
	Candidates int        `json:"candidates,omitempty"` // in the ask
	Tokens     int64      `json:"tokens"`               // spent by the candidates told so far
	Done       bool       `json:"done,omitempty"`       // nothing is asked any more: the budget is spent or the space is used up
	Generation int        `json:"generation"`
	Stage      string     `json:"stage,omitempty"` // "stage 2", for people
	Front      []FrontRow `json:"front,omitempty"` // at most FrontRows, smallest first
	Best       float64    `json:"best"`            // fitness of the best candidate so far
}

// FrontRows is the most rows of a front that a payload or a page holds.
const FrontRows = 20

// FrontRow is a point of the front as it is shown. Numbers are finite.
type FrontRow struct {
	ID      string   `json:"id"` // as in front.json
	Bytes   int64    `json:"bytes"`
	Bits    float64  `json:"bits_per_weight"`
	KL      float64  `json:"kl"`  // nats a token against the dense model, on search windows
	NLL     float64  `json:"nll"` // nats a token, on search windows
	HeldOut *HeldOut `json:"held_out,omitempty"`
	Uniform *HeldOut `json:"uniform,omitempty"`  // the uniform baseline of about the same size
	Gain    float64  `json:"gain,omitempty"`     // held-out NLL of Uniform minus that of this point
	GainErr float64  `json:"gain_err,omitempty"` // standard error of the paired difference
	Healed  *HeldOut `json:"healed,omitempty"`   // the point after it was healed
}

// HeldOut is a measurement on held-out windows, in nats a token.
type HeldOut struct {
	Bytes  int64   `json:"bytes,omitempty"`
	NLL    float64 `json:"nll"`
	NLLErr float64 `json:"nll_err"` // standard error
	KL     float64 `json:"kl"`
	KLErr  float64 `json:"kl_err"`
}

// EvaluateInput is the input of activity [ActivityEvaluate], which scores the candidates [From,To) of
// an ask. It looks each up by digest first and stores its score before it counts it as done, so that
// nothing is lost when it is cancelled or dies.
type EvaluateInput struct {
	Folder string `json:"folder"`
	Ask    string `json:"ask"` // path below the folder
	From   int    `json:"from"`
	To     int    `json:"to"`
	// MarkFailed records the candidates that have no score yet as failed instead of scoring them:
	// the last resort for a candidate that takes its worker down again and again.
	MarkFailed bool `json:"mark_failed,omitempty"`
}

// EvaluateResult is the result of [ActivityEvaluate].
type EvaluateResult struct {
	Scored  int     `json:"scored"`
	Reused  int     `json:"reused"`
	Failed  int     `json:"failed"` // recorded as failed: not finite, out of memory, or marked so
	Tokens  int64   `json:"tokens"` // run forward by this activity
	Seconds float64 `json:"seconds"`
}

// FinalistsInput is the input of activity [ActivityFinalists], which writes the ask of the final scoring:
// the front, the dense model and the baselines of the same sizes, on held-out windows.
type FinalistsInput struct {
	Folder string `json:"folder"`
	Step   int    `json:"step"` // last step whose candidates are all scored: the front is that of steps 0 to Step
}

// FinalistsResult is the result of [ActivityFinalists].
type FinalistsResult struct {
	Ask        string   `json:"ask"` // final.json
	Batches    [][2]int `json:"batches"`
	Candidates int      `json:"candidates"`
}

// ReportInput is the input of activity [ActivityReport], which derives evaluations.jsonl, front.json and
// configs/ from the log and the scores.
type ReportInput struct {
	Folder  string `json:"folder"`
	Step    int    `json:"step"`              // last step whose candidates are all scored
	Healing bool   `json:"healing,omitempty"` // points of the front are to be healed before the run ends
	Partial bool   `json:"partial,omitempty"` // the run was cancelled or failed: Step is not known, the activity finds the last complete one, and held-out scores that are not there are left out
}

// ReportResult is the result of [ActivityReport].
type ReportResult struct {
	Front     []FrontRow `json:"front"`           // at most FrontRows, smallest first, with held-out numbers
	Points    int        `json:"points"`          // on the whole front
	Dense     *HeldOut   `json:"dense,omitempty"` // the uncompressed model
	FrontPath string     `json:"front_path"`      // absolute
	Partial   bool       `json:"partial,omitempty"`
}

// Progress is the heartbeat of every activity, to be recorded at least every third of
// [Tuning].Heartbeat (a ticker does it while a long step goes on): how far it is, in which unit ("windows", "blocks",
// "candidates"), and what it is at.
type Progress struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Unit  string `json:"unit,omitempty"`
	Note  string `json:"note,omitempty"`
}

// Phases of a run, in order; those of a training are prepare, train, finish and done.
const (
	PhasePrepare   = "prepare"
	PhaseBank      = "bank"
	PhaseSearch    = "search"
	PhaseFinalists = "finalists"
	PhaseHeal      = "heal" // if the job says so
	PhaseReport    = "report"
	PhaseTrain     = "train"
	PhaseFinish    = "finish"
	PhaseDone      = "done"
)

// Status answers query [QueryStatus] of a run or a training. While a search goes on State is as new as the search's
// last word to the pipeline; [AskStatus] asks the search itself.
type Status struct {
	Folder     string         `json:"folder"`
	Phase      string         `json:"phase"`
	Paused     bool           `json:"paused,omitempty"`
	Stopping   bool           `json:"stopping,omitempty"`
	Budget     int64          `json:"budget"`
	Model      string         `json:"model,omitempty"`
	Space      string         `json:"space,omitempty"`
	Prepared   *PrepareResult `json:"prepared,omitempty"`
	Bank       *BankResult    `json:"bank,omitempty"`      // once built
	BankID     string         `json:"bank_flow,omitempty"` // workflow that builds it, while it does
	BankDone   int            `json:"bank_done,omitempty"` // ranges built, where this run's own child builds
	BankRanges int            `json:"bank_ranges,omitempty"`
	Search     *State         `json:"search,omitempty"`
	BatchDone  int            `json:"batch_done,omitempty"` // of the step in progress, or of the finalists
	Batches    int            `json:"batches,omitempty"`
	Report     *ReportResult  `json:"report,omitempty"`
	Healing    *Healing       `json:"healing,omitempty"`
	Training   *Training      `json:"training,omitempty"` // of a training
	Pending    []Pending      `json:"pending,omitempty"`  // activities at work or waiting, filled in by AskStatus
}

// Pending is an activity that is not done yet.
type Pending struct {
	Activity string    `json:"activity"` // its name
	Attempt  int       `json:"attempt"`
	Running  bool      `json:"running,omitempty"` // a worker has it
	Queued   time.Time `json:"queued,omitzero"`   // since when it waits for a worker; zero where one has it, or its next attempt is not due yet
	Progress Progress  `json:"progress"`          // its last heartbeat
	Failure  string    `json:"failure,omitempty"` // why the attempt before this one failed
	Worker   string    `json:"worker,omitempty"`  // identity of the worker that has it or had it last
}

// queuedLong is how long an activity may be in the queue before that is worth a word: a free worker takes it within milliseconds.
const queuedLong = 2 * time.Second

// Waiting reports whether nothing is at work at a time because no worker takes what is to be done: those that there are have other jobs in hand, or there is
// none. A job that is paused waits for nobody.
func (s Status) Waiting(now time.Time) bool {
	long := false
	for _, a := range s.Pending {
		if a.Running {
			return false
		}
		long = long || !a.Queued.IsZero() && now.Sub(a.Queued) >= queuedLong
	}
	return long && !s.Paused
}

// Front is the newest front that the status knows.
func (s Status) Front() []FrontRow {
	switch {
	case s.Report != nil:
		return s.Report.Front
	case s.Search != nil:
		return s.Search.Front
	}
	return nil
}
