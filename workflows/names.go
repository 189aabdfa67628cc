package workflows

import (
	"go.temporal.io/sdk/temporal"
)

// Task queues. Evaluation queues are one for each class of machine; slots on them are fixed.
const (
	WorkflowQueue = "pp-workflow" // workflow tasks only
	EvalQueue     = "pp-eval-cpu" // activities, evaluated on CPUs
)

// Names under which workflows and activities are registered. Histories hold them: they never change.
const (
	WorkflowCompress  = "Compress"
	WorkflowBuildBank = "BuildBank"
	WorkflowSearch    = "Search"
	WorkflowFinetune  = "Finetune"

	ActivityPrepare     = "Prepare"
	ActivityBuildLevels = "BuildLevels"
	ActivityAdvance     = "Advance"
	ActivityEvaluate    = "Evaluate"
	ActivityFinalists   = "Finalists"
	ActivityReport      = "Report"

	ActivityPrepareFinetune = "PrepareFinetune"
	ActivityTrain           = "Train"
	ActivityFinishFinetune  = "FinishFinetune"

	ActivityHeal        = "Heal"
	ActivityScoreHealed = "ScoreHealed"
)

// Queries and updates of [Compress]; [Search] answers the same queries, with its own state. [Finetune] has no front and no budget to extend, and stopped
// it finishes with what is trained.
const (
	QueryStatus = "status" // → Status
	QueryFront  = "front"  // → []FrontRow

	UpdatePause  = "pause"  // → Control; evaluations in flight are given back to the queue
	UpdateResume = "resume" // → Control
	UpdateStop   = "stop"   // → Control; finish now with the front so far
	UpdateExtend = "extend" // ExtendInput → Control
)

// Signals between a run and its search.
const (
	signalControl  = "control"  // Control, to the search or the training
	signalProgress = "progress" // State, to the run
)

// Types of the errors that activities return for what no retry can mend. An activity makes one with
// [Permanent]; every retry policy of this package names them all.
const (
	ErrBadSpec      = "BadSpec"      // the job asks for what cannot be: a target out of reach, a text too short, a model that cannot be read
	ErrBadCandidate = "BadCandidate" // an ask holds a candidate that does not fit the space
	ErrLogConflict  = "LogConflict"  // the log holds other bytes than this run would write
	ErrCorrupt      = "Corrupt"      // an artefact does not match its digest
	ErrOtherModel   = "OtherModel"   // the folder or the bank belongs to another model
)

// ErrCandidateFailed is the type of an error of Evaluate that the candidates of the batch are to blame
// for. When it persists the batch is halved and at last the candidate recorded as failed, as after a
// time-out or a panic. Any other error that outlives its retries fails the run, which can be resumed.
const ErrCandidateFailed = "CandidateFailed"

// ErrStopped is the type of an error of an activity whose worker was stopped in the middle of it. It says
// nothing against the activity, which is sent again however often that happens.
const ErrStopped = "Stopped"

// permanentTypes are the types that are not retried.
var permanentTypes = []string{ErrBadSpec, ErrBadCandidate, ErrLogConflict, ErrCorrupt, ErrOtherModel}

// Permanent returns err as an error of the given type that Temporal does not retry.
func Permanent(errType string, err error) error {
	return temporal.NewNonRetryableApplicationError(err.Error(), errType, err)
}

// Failed returns err as an error for which the candidates of a batch are to blame; see
// [ErrCandidateFailed].
func Failed(err error) error {
	return temporal.NewApplicationErrorWithCause(err.Error(), ErrCandidateFailed, err)
}

// Stopped returns err as the error of an activity whose worker is stopping.
func Stopped(err error) error {
	return temporal.NewApplicationErrorWithCause(err.Error(), ErrStopped, err)
}

// Search attributes by which runs can be listed and found.
var (
	AttributeModel      = temporal.NewSearchAttributeKeyKeyword("PPModel")
	AttributePhase      = temporal.NewSearchAttributeKeyKeyword("PPPhase")
	AttributeGeneration = temporal.NewSearchAttributeKeyInt64("PPGeneration")
	AttributeBest       = temporal.NewSearchAttributeKeyFloat64("PPBest")
)

// SearchID is the id of the search workflow of a run.
func SearchID(run string) string { return run + "/search" }

// HealID is the id of the training that heals a point of a run.
func HealID(run, point string) string { return run + "/heal/" + point }

// BankWorkflowID is the id of the workflow that builds a bank, the same for every run that needs it.
func BankWorkflowID(bank string) string { return "bank/" + bank }
