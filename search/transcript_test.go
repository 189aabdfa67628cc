package search

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTranscripts runs the files testdata/transcript-*.txt. A file is blocks of commands, each block
// ended by a line ---- and followed by what the commands print, up to an empty line. -rewrite writes
// what they print now.
//
//	space KIND BLOCKS          a synthetic space
//	new METHOD [target=T] [seed=N] [windows=N] [schedule]
//	ask [BUDGET]               prints the trials
//	tell [ID=KL|ID=fail ...]   without arguments: everything asked, by the synthetic model
//	restore                    replaces the optimiser by one restored from its state
//	progress, front            print them
//	uniform                    prints the uniform candidate beside the incumbent
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcript-*.txt")
	if err != nil || len(files) < 3 {
		t.Fatalf("%d transcripts (%v)", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			p := player{archive: NewArchive()}
			skip := false
			for _, line := range strings.SplitAfter(string(data), "\n") {
				switch text := strings.TrimSpace(line); {
				case skip:
					if skip = text != ""; !skip {
						out.WriteString(line)
					}
				case text == "----":
					out.WriteString(line)
					out.WriteString(p.printed.String())
					p.printed.Reset()
					skip = true
				case text == "" || text[0] == '#':
					out.WriteString(line)
				default:
					out.WriteString(line)
					if err := p.run(strings.Fields(text)); err != nil {
						fmt.Fprintf(&p.printed, "error: %v\n", err)
					}
				}
			}
			golden(t, filepath.Base(file), out.String())
		})
	}
}

// player holds what the commands of a transcript work on.
type player struct {
	printed strings.Builder
	model   *synthetic
	opt     Optimizer
	asked   []Trial
	stage   []Evaluation
	archive *Archive
}

func (p *player) run(command []string) error {
	args := command[1:]
	switch command[0] {
	case "space":
		blocks, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		p.model = newSynthetic(args[0], blocks, 1, 0.2)
	case "new":
		return p.new(args)
	case "ask":
		budget := int64(1 << 40)
		if len(args) > 0 {
			var err error
			if budget, err = strconv.ParseInt(args[0], 10, 64); err != nil {
				return err
			}
		}
		p.asked = p.opt.Ask(budget)
		if p.asked == nil {
			p.printed.WriteString("nothing\n")
			return nil
		}
		fmt.Fprintf(&p.printed, "windows %v\n", p.asked[0].Windows)
		for _, t := range p.asked {
			fmt.Fprintf(&p.printed, "%d %s\n", t.ID, t.Candidate)
		}
	case "tell":
		return p.tell(args)
	case "restore":
		state, err := p.opt.State()
		if err != nil {
			return err
		}
		p.opt, err = Restore(p.model.space, state)
		return err
	case "progress":
		g := p.opt.Progress()
		fmt.Fprintf(&p.printed, "generation %d, %s, %d tokens, best %.4f, incumbents %v\n", g.Generation, g.Stage, g.Tokens, g.Best, g.Incumbents)
	case "front":
		for _, e := range p.archive.Front() {
			fmt.Fprintf(&p.printed, "%s %d bytes, KL %.4f on %d tokens\n", e.Candidate, e.Bytes, e.KL, e.Tokens)
		}
	case "uniform":
		c := p.opt.Progress().Incumbents[0]
		u := p.model.space.Uniform(c)
		fmt.Fprintf(&p.printed, "found   %s %d bytes, true KL %.4f\nuniform %s %d bytes, true KL %.4f\n",
			c, p.model.space.Bytes(c), p.model.kl(c), u, p.model.space.Bytes(u), p.model.kl(u))
	default:
		return fmt.Errorf("unknown command %q", command[0])
	}
	return nil
}

func (p *player) new(args []string) (err error) {
	job := Job{Space: p.model.space, Budget: 200, SeqLen: 1, Windows: 6}
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "target":
			job.Target, err = ParseTarget(value)
		case "seed":
			job.Seed, err = strconv.ParseUint(value, 10, 64)
		case "windows":
			job.Windows, err = strconv.Atoi(value)
		case "budget":
			job.Budget, err = strconv.ParseInt(value, 10, 64)
		case "schedule":
			job.Schedule = &Schedule{Initial: Stage{3, 1}, Offspring: 4, Flips: 3, Merge: []int{2}, Stages: []Stage{{2, 1}, {1, 2}}}
		default:
			err = fmt.Errorf("unknown argument %q", arg)
		}
		if err != nil {
			return err
		}
	}
	p.opt, err = New(args[0], job)
	return err
}

func (p *player) tell(args []string) error {
	var results []Result
	for _, t := range p.asked {
		if len(args) == 0 {
			results = append(results, p.model.score(t))
		}
	}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		id, err := strconv.Atoi(name)
		if err != nil {
			return err
		}
		r := Result{ID: id, Failed: value == "fail"}
		if !r.Failed {
			if r.KL, err = strconv.ParseFloat(value, 64); err != nil {
				return err
			}
		}
		results = append(results, r)
	}
	if err := p.opt.Tell(results); err != nil {
		return err
	}
	for _, r := range results {
		at := slices.IndexFunc(p.asked, func(t Trial) bool { return t.ID == r.ID })
		t := p.asked[at]
		p.stage = append(p.stage, Evaluation{Candidate: t.Candidate, Digest: p.model.space.Phenotype(t.Candidate),
			Bytes: p.model.space.Bytes(t.Candidate), KL: r.KL, NLL: r.NLL, Tokens: int64(len(t.Windows)), Failed: r.Failed})
		p.asked = slices.Delete(slices.Clone(p.asked), at, at+1)
	}
	if len(p.asked) == 0 {
		p.archive.Add(p.stage)
		p.stage = nil
	}
	return nil
}
