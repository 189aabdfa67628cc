package export

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Card is what is known of an exported model: the content of its model card.
type Card struct {
	Title   string // name of the file or folder
	Format  string // as "GGUF, architecture llama"
	Bytes   int64  // of the file or folder
	Base    string // model that was compressed, as it was named
	Digest  string // SHA-256 of its content
	Command string // that made the export

	Text       string // name of the text that the numbers are of
	TextDigest string // SHA-256 of it
	Seed       *uint64
	SeqLen     int         // tokens of a window
	Scores     []CardScore // on held-out text
	Check      string      // how the export compares with the evaluated candidate

	Units   []CardUnit
	Dropped []string // sub-blocks
	Notes   []string // what a user must know
}

// CardScore is a measurement.
type CardScore struct {
	Name       string
	Bytes      int64
	NLL, KL    float64 // nats a token
	NLLErr     float64 // standard errors
	KLErr      float64
	Windows    int
	ScoredWith string // numerics
}

// CardUnit is a part of the model.
type CardUnit struct {
	Name  string // linear module, model.embed_tokens or lm_head
	Level string // as a config file names it
	Type  string // how it is stored
	Bytes int64
}

// Units are the units of a Hugging Face folder.
func (r HFResult) Units() []CardUnit {
	var units []CardUnit
	for _, m := range r.Modules {
		units = append(units, CardUnit{Name: m.Name, Level: m.Level, Type: m.Type, Bytes: m.Bytes})
	}
	return units
}

// Units are the units of a GGUF file.
func (r GGUFResult) Units() []CardUnit {
	var units []CardUnit
	for _, t := range r.Tensors {
		if t.Unit != "" {
			units = append(units, CardUnit{Name: t.Unit, Level: t.Level, Type: t.Type, Bytes: t.Bytes})
		}
	}
	return units
}

// Markdown is the card as a file.
func (c Card) Markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n", c.Title)
	rows := [][2]string{{"base", "`" + c.Base + "`"}, {"SHA-256 of the base", "`" + c.Digest + "`"},
		{"format", c.Format}, {"bytes", fmt.Sprint(c.Bytes)}, {"made by", "`" + c.Command + "`"}}
	if c.Text != "" {
		rows = append(rows, [2]string{"text", "`" + c.Text + "`"}, [2]string{"SHA-256 of the text", "`" + c.TextDigest + "`"})
	}
	if c.Seed != nil {
		rows = append(rows, [2]string{"seed of the search", fmt.Sprint(*c.Seed)})
	}
	if c.Check != "" {
		rows = append(rows, [2]string{"read back", c.Check})
	}
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s |\n", r[0], cell(r[1]))
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	if len(c.Scores) > 0 {
		fmt.Fprintf(&b, "\n## Held-out text\n\nNats a token, windows of %d tokens, `paretopress` with %s numerics.\n\n", c.SeqLen, c.Scores[0].ScoredWith)
		fmt.Fprintf(&b, "| model | bytes | windows | KL | NLL |\n|---|---:|---:|---:|---:|\n")
		for _, s := range c.Scores {
			fmt.Fprintf(&b, "| %s | %d | %d | %.5f ± %.5f | %.5f ± %.5f |\n", cell(s.Name), s.Bytes, s.Windows, s.KL, s.KLErr, s.NLL, s.NLLErr)
		}
	}
	c.levels(&b)
	return b.Bytes()
}

// levels writes how many units are in each type, and the table of all.
func (c Card) levels(b *bytes.Buffer) {
	type sum struct {
		kind  string
		units int
		bytes int64
	}
	var sums []sum
	for _, u := range c.Units {
		at := slices.IndexFunc(sums, func(s sum) bool { return s.kind == u.Type })
		if at < 0 {
			at, sums = len(sums), append(sums, sum{kind: u.Type})
		}
		sums[at].units++
		sums[at].bytes += u.Bytes
	}
	slices.SortFunc(sums, func(x, y sum) int { return strings.Compare(x.kind, y.kind) })
	fmt.Fprintf(b, "\n## Levels\n\n| type | tensors | bytes |\n|---|---:|---:|\n")
	for _, s := range sums {
		fmt.Fprintf(b, "| %s | %d | %d |\n", s.kind, s.units, s.bytes)
	}
	if len(c.Dropped) > 0 {
		fmt.Fprintf(b, "\nDropped: `%s`.\n", strings.Join(c.Dropped, "`, `"))
	}
	fmt.Fprintf(b, "\n| module of the base | level | type | bytes |\n|---|---|---|---:|\n")
	for _, u := range c.Units {
		fmt.Fprintf(b, "| %s | %s | %s | %d |\n", u.Name, cell(u.Level), u.Type, u.Bytes)
	}
}

// cell keeps text within its cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}
