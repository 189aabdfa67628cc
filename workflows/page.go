package workflows

import (
	"fmt"
	"strings"
)

// The pages below are what the Temporal UI shows as a workflow's current details, in Markdown.

// runPage is the page of a run.
func runPage(in RunInput, s Status) string {
	var b strings.Builder
	target := in.Target
	if target == "" {
		target = "whole front"
	}
	b.WriteString(fmt.Sprintf("**%s** · %s · %s · %s · seed %d\n\n", in.Model, in.Space, target, in.Method, in.Seed))
	b.WriteString(phaseLine(s) + "\n\n")
	if p := s.Prepared; p != nil {
		b.WriteString(fmt.Sprintf("- model: %s, %s in 16 bits\n- space: %s\n", p.Model, megabytes(p.DenseBytes), p.SpaceText))
	}
	if s.BankID != "" {
		if r := s.Bank; r != nil {
			b.WriteString(fmt.Sprintf("- bank: %d levels of %d units, %s, %d reused\n", r.Levels, r.Units, megabytes(r.Bytes), r.Reused))
		} else {
			b.WriteString(fmt.Sprintf("- bank: workflow `%s`\n", s.BankID))
		}
	}
	if s.Search != nil {
		b.WriteString("- search: workflow `" + SearchID(in.ID) + "`, " + counters(s) + "\n")
	}
	if h := s.Healing; h != nil {
		b.WriteString(fmt.Sprintf("- healing: %d of %d points", h.Done, h.Total))
		if h.Flow != "" {
			b.WriteString(", workflow `" + h.Flow + "`")
		}
		for _, why := range h.Failed {
			b.WriteString("; not healed: " + why)
		}
		b.WriteString("\n")
	}
	b.WriteString("- folder: `" + in.Folder + "`\n\n")
	b.WriteString(frontTable(s.Front()))
	return b.String()
}

// searchPage is the page of a search.
func searchPage(s Status) string {
	return fmt.Sprintf("%s\n\n%s\n\n%s", phaseLine(s), counters(s), frontTable(s.Front()))
}

// bankPage is the page of a bank that is being built.
func bankPage(in BankInput, sum BankResult, done int) string {
	return fmt.Sprintf("**%d of %d** ranges of blocks built: %d levels of %d units, %s, %d reused\n",
		done, len(in.Ranges), sum.Levels, sum.Units, megabytes(sum.Bytes), sum.Reused)
}

// phaseLine shows the phases of a run with the present one in bold.
func phaseLine(s Status) string {
	if s.Healing != nil {
		return phases(s, PhasePrepare, PhaseBank, PhaseSearch, PhaseFinalists, PhaseHeal, PhaseReport, PhaseDone)
	}
	return phases(s, PhasePrepare, PhaseBank, PhaseSearch, PhaseFinalists, PhaseReport, PhaseDone)
}

// phases shows phases with the present one in bold.
func phases(s Status, names ...string) string {
	for i, p := range names {
		if p == s.Phase {
			names[i] = "**" + p + "**"
		}
	}
	line := strings.Join(names, " → ")
	switch {
	case s.Paused:
		line += " · **paused**"
	case s.Stopping && s.Phase == PhaseDone:
		line += " · stopped by the user"
	case s.Stopping:
		line += " · **stopping**"
	}
	return line
}

// counters says how far the search is.
func counters(s Status) string {
	st := s.Search
	text := fmt.Sprintf("generation %d, step %d, %d candidates", st.Generation, st.Step+1, st.Candidates)
	if st.Failed > 0 {
		text += fmt.Sprintf(" (%d failed)", st.Failed)
	}
	text += fmt.Sprintf(", %d of %d tokens", st.Tokens, s.Budget)
	if s.Budget > 0 {
		text += fmt.Sprintf(" (%d %%)", int(100*float64(st.Tokens)/float64(s.Budget)))
	}
	if len(st.Front) > 0 {
		text += fmt.Sprintf(", best %.4f", st.Best)
	}
	return text
}

// frontTable is the front as a Markdown table, with held-out columns where there are such numbers.
func frontTable(rows []FrontRow) string {
	if len(rows) == 0 {
		return "no front yet\n"
	}
	rows = rows[:min(len(rows), FrontRows)]
	held, healed := false, false
	for _, r := range rows {
		held, healed = held || r.HeldOut != nil, healed || r.Healed != nil
	}
	var b strings.Builder
	b.WriteString("| size | bits/weight | KL | NLL |")
	if held {
		b.WriteString(" held-out NLL | uniform | gain |")
	}
	if healed {
		b.WriteString(" healed NLL | healed size |")
	}
	b.WriteString(" id |\n|---:|---:|---:|---:|")
	if held {
		b.WriteString("---:|---:|---:|")
	}
	if healed {
		b.WriteString("---:|---:|")
	}
	b.WriteString("---|\n")
	for _, r := range rows {
		b.WriteString(fmt.Sprintf("| %s | %.3f | %.4f | %.4f |", megabytes(r.Bytes), r.Bits, r.KL, r.NLL))
		if held {
			b.WriteString(heldOutCells(r))
		}
		if healed {
			b.WriteString(healedCells(r.Healed))
		}
		b.WriteString(fmt.Sprintf(" `%s` |\n", r.ID[:min(len(r.ID), 12)]))
	}
	return b.String()
}

// heldOutCells are the cells of a row's held-out numbers.
func heldOutCells(r FrontRow) string {
	own, uniform, gain := "", "", ""
	if r.HeldOut != nil {
		own = fmt.Sprintf("%.4f ± %.4f", r.HeldOut.NLL, r.HeldOut.NLLErr)
	}
	if r.Uniform != nil {
		uniform = fmt.Sprintf("%.4f", r.Uniform.NLL)
		gain = fmt.Sprintf("%+.4f ± %.4f", r.Gain, r.GainErr)
	}
	return fmt.Sprintf(" %s | %s | %s |", own, uniform, gain)
}

// healedCells are the cells of a point that was healed, empty for others.
func healedCells(h *HeldOut) string {
	if h == nil {
		return "  |  |"
	}
	return fmt.Sprintf(" %.4f ± %.4f | %s |", h.NLL, h.NLLErr, megabytes(h.Bytes))
}

// megabytes writes bytes in MB of 10⁶.
func megabytes(n int64) string { return fmt.Sprintf("%.2f MB", float64(n)/1e6) }
