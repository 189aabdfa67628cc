package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/paretopress/paretopress/workflows"
)

func (s *session) jobsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "jobs",
		Short: "List runs and trainings, watch them, pause, resume, stop, cancel or extend them",
		Args:  exactly(0, ""),
		RunE:  func(cmd *cobra.Command, _ []string) error { return s.jobsList(cmd.Context()) },
	}
	one := func(use, short string, f func(ctx context.Context, b *backend, id string) error) *cobra.Command {
		return &cobra.Command{
			Use: use + " RUN", Short: short, Args: exactly(1, "the id or the folder of a run or training"),
			RunE: func(cmd *cobra.Command, args []string) error {
				return s.onJob(cmd.Context(), args[0], f)
			},
		}
	}
	update := func(name, past string) func(context.Context, *backend, string) error {
		return func(ctx context.Context, b *backend, id string) error {
			control, err := workflows.Update(ctx, b.client, id, name)
			return s.changed(id, past, control, err)
		}
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "List the runs and trainings of the data folder", Args: exactly(0, ""),
			RunE: func(cmd *cobra.Command, _ []string) error { return s.jobsList(cmd.Context()) }},
		one("show", "Print how a run or training stands", s.jobShow),
		one("watch", "Follow a run or training to its end", s.jobWatch),
		one("pause", "Pause a run or training", update(workflows.UpdatePause, "paused")),
		one("resume", "Let a paused one go on", update(workflows.UpdateResume, "goes on")),
		one("stop", "Finish a run now, with the front so far, or a training with what is trained", update(workflows.UpdateStop, "stops with what it has so far")),
		one("cancel", "Cancel a run or training; what it has stays", s.jobCancel),
		s.extendCommand(),
	)
	return cmd
}

func (s *session) extendCommand() *cobra.Command {
	var tokens int64
	cmd := &cobra.Command{
		Use: "extend RUN", Short: "Add tokens to the budget of a run", Args: exactly(1, "the id or the folder of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if tokens < 1 {
				return usagef("--tokens: %d, want at least 1", tokens)
			}
			return s.onJob(cmd.Context(), args[0], func(ctx context.Context, b *backend, id string) error {
				control, err := workflows.Update(ctx, b.client, id, workflows.UpdateExtend, workflows.ExtendInput{Tokens: tokens})
				return s.changed(id, "has a budget of "+strconv.FormatInt(control.Budget, 10)+" tokens", control, err)
			})
		},
	}
	cmd.Flags().Int64Var(&tokens, "tokens", 0, "tokens to add")
	return cmd
}

// onJob connects and calls f for the run that is named by its id or its folder.
func (s *session) onJob(ctx context.Context, run string, f func(context.Context, *backend, string) error) error {
	id := run
	if folder, err := s.findJob(run, "run"); err == nil {
		if id, err = runID(folder); err != nil {
			return err
		}
	}
	b, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer b.close(s)
	return f(ctx, b, id)
}

// changed reports what an update did.
func (s *session) changed(id, what string, control workflows.Control, err error) error {
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(control)
	}
	fmt.Fprintf(s.Stdout, "%s %s\n", id, what)
	return nil
}

// jobRow is a run or a training as jobs list prints it.
type jobRow struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"`  // run or finetune
	State  string `json:"state"` // running, waiting for a worker, paused, done, unfinished
	Phase  string `json:"phase,omitempty"`
	Model  string `json:"model"`
	Space  string `json:"space,omitempty"`
	Method string `json:"method,omitempty"` // of a training
	Target string `json:"target,omitempty"`
	Tokens int64  `json:"tokens"`
	Budget int64  `json:"budget"`
	Folder string `json:"folder"`
}

// jobsList prints the runs of the data folder; the states of running ones come from the server, if
// one is there.
func (s *session) jobsList(ctx context.Context) error {
	ids, folders, err := s.listRuns()
	if err != nil {
		return err
	}
	b, err := s.connect(ctx)
	if err != nil && !errors.Is(err, errNoServer) {
		return err
	}
	if err == nil {
		defer b.close(s)
	}
	rows := []jobRow{}
	for i, id := range ids {
		row, err := jobOf(id, folders[i])
		if err != nil {
			return err
		}
		if b != nil {
			if err := b.liveRow(ctx, &row); err != nil {
				return err
			}
		}
		rows = append(rows, row)
	}
	if s.json {
		return s.printJSON(rows)
	}
	if len(rows) == 0 {
		s.say("no runs or trainings in %s yet; start one with: paretopress run", s.runsDir())
		return nil
	}
	var cells [][]string
	for _, r := range rows {
		space, target := r.Space, r.Target
		if r.Kind == kindFinetune {
			space, target = r.Kind, r.Method
		}
		cells = append(cells, []string{r.ID, r.State, r.Phase, r.Model, space, target, count(r.Tokens) + "/" + count(r.Budget)})
	}
	table(s.Stdout, []string{"ID", "STATE", "PHASE", "MODEL", "SPACE", "TARGET", ">TOKENS"}, cells)
	return nil
}

// Kinds of a jobRow.
const (
	kindRun      = "run"
	kindFinetune = "finetune"
)

// jobOf is a row by what its folder holds.
func jobOf(id, folder string) (jobRow, error) {
	row := jobRow{ID: id, Kind: kindRun, State: "unfinished", Folder: folder}
	if isTraining(folder) {
		return trainingOf(row)
	}
	job, err := readJob(folder)
	if err != nil {
		return row, err
	}
	row.Model, row.Space, row.Target, row.Budget = job.ModelName(), job.Space, job.Target, job.Budget
	front, err := readFront(folder)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return row, err
	default:
		row.Tokens = front.Tokens
		if !front.Partial {
			row.State, row.Phase = "done", workflows.PhaseDone
		}
	}
	return row, nil
}

// trainingOf is the row of a training.
func trainingOf(row jobRow) (jobRow, error) {
	job, err := readTraining(row.Folder)
	if err != nil {
		return row, err
	}
	row.Kind, row.Model, row.Method, row.Budget = kindFinetune, job.ModelName(), job.Method, job.Tokens()
	res, err := readTrained(row.Folder)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return row, nil
	case err == nil:
		row.Tokens = res.Tokens
		row.State, row.Phase = "done", workflows.PhaseDone
	}
	return row, err
}

// liveRow fills in what the server knows of a run that is at work.
func (b *backend) liveRow(ctx context.Context, row *jobRow) error {
	running, err := b.running(ctx, row.ID)
	if err != nil || !running {
		return err
	}
	row.State = "running"
	st, err := workflows.AskStatus(ctx, b.client, row.ID)
	if err != nil {
		row.State = "waiting for a worker" // queries are answered by workers
		return nil
	}
	row.Phase = st.Phase
	switch {
	case st.Paused:
		row.State = "paused"
	case st.Waiting(time.Now()):
		row.State = "waiting for a worker"
	}
	if t := st.Training; t != nil {
		row.Tokens = row.Budget / int64(max(t.Steps, 1)) * int64(t.Step)
		return nil
	}
	row.Budget = st.Budget
	if st.Search != nil {
		row.Tokens = st.Search.Tokens
	}
	return nil
}

// jobShow prints the status of a run.
func (s *session) jobShow(ctx context.Context, b *backend, id string) error {
	st, err := workflows.AskStatus(ctx, b.client, id)
	if err != nil {
		return err
	}
	if s.json {
		return s.printJSON(st)
	}
	fmt.Fprintf(s.Stdout, "run     %s\nfolder  %s\nphase   %s", id, st.Folder, st.Phase)
	if st.Paused {
		fmt.Fprint(s.Stdout, " (paused)")
	}
	if st.Waiting(time.Now()) {
		fmt.Fprint(s.Stdout, " ("+waitsForWorker+")")
	}
	fmt.Fprintln(s.Stdout)
	if t := st.Training; t != nil && t.Prepared != nil {
		fmt.Fprintf(s.Stdout, "model   %s\ntrains  %s weights of %d matrices, step %d of %d\n", t.Prepared.Model, count(t.Prepared.Trainable), t.Prepared.Targets, t.Step, t.Steps)
	}
	if p := st.Prepared; p != nil {
		fmt.Fprintf(s.Stdout, "model   %s\nspace   %s\n", p.Model, p.SpaceText)
	}
	if q := st.Search; q != nil {
		fmt.Fprintf(s.Stdout, "search  generation %d %s, %s of %s tokens, best %.4f\n", q.Generation, q.Stage, count(q.Tokens), count(st.Budget), q.Best)
	}
	if h := st.Healing; h != nil {
		fmt.Fprintf(s.Stdout, "heal    %d of %d points", h.Done, h.Total)
		if t := h.Training; t != nil {
			fmt.Fprintf(s.Stdout, ", %s at step %d of %d", h.Point, t.Step, t.Steps)
		}
		fmt.Fprintln(s.Stdout)
	}
	for _, a := range st.Pending {
		line := fmt.Sprintf("task    %s, attempt %d", a.Activity, a.Attempt)
		if a.Progress.Total > 0 {
			line += fmt.Sprintf(", %d of %d %s", a.Progress.Done, a.Progress.Total, a.Progress.Unit)
		}
		if a.Progress.Note != "" {
			line += ", " + a.Progress.Note
		}
		if !a.Queued.IsZero() {
			line += fmt.Sprintf(", in the queue for %s", short(time.Since(a.Queued)))
		}
		if a.Failure != "" {
			line += ", last failure: " + a.Failure
		}
		fmt.Fprintln(s.Stdout, line)
	}
	if url := b.runURL(id); url != "" {
		fmt.Fprintf(s.Stdout, "watch   %s\n", url)
	}
	if rows := st.Front(); len(rows) > 0 {
		fmt.Fprintln(s.Stdout)
		s.printRows(rows)
	}
	if t := st.Training; t != nil && t.Prepared != nil {
		fmt.Fprintln(s.Stdout)
		s.printMeasured(t.Prepared.Bytes, t.Prepared.Before, t.Finished)
	}
	return nil
}

// jobWatch follows a run and prints its front when it is done.
func (s *session) jobWatch(ctx context.Context, b *backend, id string) error {
	st, err := workflows.AskStatus(ctx, b.client, id)
	if err != nil {
		return err
	}
	err = s.follow(ctx, b, id)
	if ctx.Err() != nil {
		s.say("\nthe job goes on; watch it with: paretopress jobs watch %s%s", id, s.serverFlags())
		return errInterrupted
	}
	if err != nil {
		return err
	}
	if st.Training != nil {
		job, err := readTraining(st.Folder)
		if err != nil {
			return err
		}
		return s.printTraining(training{placed{id: id, folder: st.Folder}, job}, b, 0)
	}
	job, err := readJob(st.Folder)
	if err != nil {
		return err
	}
	return s.printResult(plan{placed{id: id, folder: st.Folder}, job}, b, 0)
}

// jobCancel cancels a run.
func (s *session) jobCancel(ctx context.Context, b *backend, id string) error {
	if err := workflows.Cancel(ctx, b.client, id); err != nil {
		return err
	}
	if s.json {
		return s.printJSON(map[string]string{"cancelled": id})
	}
	fmt.Fprintf(s.Stdout, "%s is being cancelled; what it has stays, and --resume goes on from there\n", id)
	return nil
}
