package workflows

import (
	"fmt"
	"strings"
	"time"
)

// trainingPage is the page of a training.
func trainingPage(in FinetuneInput, s Status) string {
	var b strings.Builder
	t := s.Training
	b.WriteString(fmt.Sprintf("**%s** · %s · %s\n\n%s\n\n", in.Model, in.Method, in.Objective, phases(s, PhasePrepare, PhaseTrain, PhaseFinish, PhaseDone)))
	if p := t.Prepared; p != nil {
		b.WriteString(fmt.Sprintf("- model: %s, %s\n- trains: %d weights of %d matrices, on %d examples\n", p.Model, megabytes(p.Bytes), p.Trainable, p.Targets, p.Examples))
		if p.Note != "" {
			b.WriteString("- note: " + p.Note + "\n")
		}
		b.WriteString(fmt.Sprintf("- step %d of %d%s\n", t.Step, t.Steps, speed(*t)))
	}
	b.WriteString("- folder: `" + in.Folder + "`\n")
	if p := t.Prepared; p != nil {
		b.WriteString("\n| held-out | size | KL | NLL |\n|---|---:|---:|---:|\n" + measuredRow("before", p.Bytes, p.Before))
		if f := t.Finished; f != nil {
			b.WriteString(measuredRow("after", f.Bytes, f.After) + "\ndelta: `" + f.Delta + "`, " + megabytes(f.DeltaBytes) + "\n")
		}
	}
	return b.String()
}

// speed says how a training goes.
func speed(t Training) string {
	text := ""
	if t.Step > 0 && t.Loss != 0 {
		text = fmt.Sprintf(", loss %.4f", t.Loss)
	}
	if t.Seconds > 0 {
		text += fmt.Sprintf(", %.0f tokens/s", float64(t.Tokens)/t.Seconds)
	}
	if left := t.Remaining(); left > 0 {
		text += fmt.Sprintf(", %s left", time.Duration(left*float64(time.Second)).Round(time.Second))
	}
	return text
}

// measuredRow is a row of the table of held-out numbers.
func measuredRow(name string, size int64, m Measured) string {
	return fmt.Sprintf("| %s | %s | %.4f ± %.4f | %.4f ± %.4f |\n", name, megabytes(size), m.KL, m.KLError, m.NLL, m.NLLError)
}
