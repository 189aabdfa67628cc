package evalworker

import (
	"fmt"

	"github.com/paretopress/paretopress/export"
	"github.com/paretopress/paretopress/internal/durable"
)

// Formats that list levels for other programs, without weights.
const (
	FormatRecipe   = "recipe"   // llm-compressor makes the levels anew
	FormatEvoPress = "evopress" // EvoPress's files of levels, or of drops
)

// lists reports whether a format has no weights.
func lists(format string) bool { return format == FormatRecipe || format == FormatEvoPress }

// list writes the levels of the candidate for another program.
func (in ExportInput) list(x *subject) (ExportResult, error) {
	cand, levels, err := x.outline()
	if err != nil {
		return ExportResult{}, err
	}
	drops := false
	for _, l := range levels {
		drops = drops || l.drop()
	}
	c := x.slot.model.Config()
	var data []byte
	switch {
	case in.Format == FormatRecipe:
		data, err = export.Recipe(c, cand)
	case drops:
		data, err = export.EvoPressDrops(c, cand)
	default:
		data, err = export.EvoPressLevels(c, cand, evoPressNumber)
	}
	if err != nil {
		return ExportResult{}, mark(ErrJob, err)
	}
	write := durable.Publish // fails where another file has come in the meantime
	if in.Force {
		write = durable.Write
	}
	if err := write(in.Out, data); err != nil {
		return ExportResult{}, fmt.Errorf("evalworker: --out: %w", err)
	}
	return ExportResult{Path: in.Out, Bytes: int64(len(data)), Format: in.Format}, nil
}

// evoPressNumber is the number of a level in EvoPress's database of quantized layers: its bits.
func evoPressNumber(_, level string) (int, bool) {
	l, err := ParseLevel(level)
	if err != nil {
		return 0, false
	}
	return l.bits()
}
