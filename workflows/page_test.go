package workflows

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// rows makes a front of n points.
func rows(n int, held bool) []FrontRow {
	var list []FrontRow
	for i := range n {
		r := FrontRow{ID: fmt.Sprintf("%016x", i), Bytes: 90_000_000 + int64(i), Bits: 3.062512345678, KL: 0.123456789012345, NLL: 3.123456789012345}
		if held {
			r.HeldOut = &HeldOut{NLL: 3.2, NLLErr: 0.01}
			r.Uniform = &HeldOut{NLL: 3.4, NLLErr: 0.01}
			r.Gain, r.GainErr = 0.2, 0.015
		}
		list = append(list, r)
	}
	return list
}

func TestRunPage(t *testing.T) {
	in := RunInput{Folder: "/runs/r1", ID: "r1", Model: "SmolLM2", Space: SpaceQuant, Target: "bpw=3", Method: MethodEvoPress, Seed: 7}
	s := Status{
		Folder: in.Folder, Phase: PhaseSearch, Paused: true, Budget: 1000,
		Prepared: &PrepareResult{Model: "SmolLM2 llama", SpaceText: "210 modules x 5 levels", DenseBytes: 269e6},
		BankID:   "bank/b0", Bank: &BankResult{Units: 210, Levels: 1050, Bytes: 80e6, Reused: 3},
		Search: &State{Step: 11, Generation: 4, Candidates: 300, Failed: 1, Tokens: 250, Best: 0.1234, Front: rows(2, false)},
	}
	require.Equal(t, `**SmolLM2** · quant · bpw=3 · evopress · seed 7

prepare → bank → **search** → finalists → report → done · **paused**

- model: SmolLM2 llama, 269.00 MB in 16 bits
- space: 210 modules x 5 levels
- bank: 1050 levels of 210 units, 80.00 MB, 3 reused
- search: workflow `+"`r1/search`"+`, generation 4, step 12, 300 candidates (1 failed), 250 of 1000 tokens (25 %), best 0.1234
- folder: `+"`/runs/r1`"+`

| size | bits/weight | KL | NLL | id |
|---:|---:|---:|---:|---|
| 90.00 MB | 3.063 | 0.1235 | 3.1235 | `+"`000000000000`"+` |
| 90.00 MB | 3.063 | 0.1235 | 3.1235 | `+"`000000000000`"+` |
`, runPage(in, s))
}

func TestFrontTableWithHeldOutNumbers(t *testing.T) {
	list := append(rows(1, true), rows(1, false)...)
	require.Equal(t, `| size | bits/weight | KL | NLL | held-out NLL | uniform | gain | id |
|---:|---:|---:|---:|---:|---:|---:|---|
| 90.00 MB | 3.063 | 0.1235 | 3.1235 | 3.2000 ± 0.0100 | 3.4000 | +0.2000 ± 0.0150 | `+"`000000000000`"+` |
| 90.00 MB | 3.063 | 0.1235 | 3.1235 |  |  |  | `+"`000000000000`"+` |
`, frontTable(list))
}

func TestFrontTableIsBounded(t *testing.T) {
	require.Equal(t, FrontRows+2, strings.Count(frontTable(rows(50, false)), "\n"))
	require.Equal(t, "no front yet\n", frontTable(nil))
}

// What goes through the history at every step stays small.
func TestPayloadsAreSmall(t *testing.T) {
	b, err := json.Marshal(AdvanceResult{Front: rows(FrontRows, false), Batches: make([][2]int, 64)})
	require.NoError(t, err)
	require.Less(t, len(b), 4096)
	b, err = json.Marshal(State{Front: rows(FrontRows, false)})
	require.NoError(t, err)
	require.Less(t, len(b), 4096)
}

func TestTrainingPage(t *testing.T) {
	in := FinetuneInput{Folder: "/runs/t1", Model: "SmolLM2", Method: "spiel-ag", Objective: ObjectiveKL}
	s := Status{Phase: PhaseTrain, Training: &Training{
		Prepared: &PrepareFinetuneResult{Model: "SmolLM2 llama", Bytes: 80e6, Trainable: 2_000_000, Targets: 210, Examples: 60, Note: "2 examples are cut",
			Before: Measured{NLL: 3.2, NLLError: 0.01, KL: 0.5, KLError: 0.02}},
		Step: 64, Steps: 128, Loss: 0.25, Trained: 32, Tokens: 131072, Seconds: 160,
	}}
	page := `**SmolLM2** · spiel-ag · kl

prepare → **train** → finish → done

- model: SmolLM2 llama, 80.00 MB
- trains: 2000000 weights of 210 matrices, on 60 examples
- note: 2 examples are cut
- step 64 of 128, loss 0.2500, 819 tokens/s, 5m20s left
- folder: ` + "`/runs/t1`" + `

| held-out | size | KL | NLL |
|---|---:|---:|---:|
| before | 80.00 MB | 0.5000 ± 0.0200 | 3.2000 ± 0.0100 |
`
	require.Equal(t, page, trainingPage(in, s))
	s.Training.Finished = &FinishFinetuneResult{Delta: "/runs/t1/delta.safetensors", DeltaBytes: 16e6, Bytes: 96e6, After: Measured{NLL: 3, NLLError: 0.01, KL: 0.3, KLError: 0.02}}
	require.Equal(t, page+"| after | 96.00 MB | 0.3000 ± 0.0200 | 3.0000 ± 0.0100 |\n\ndelta: `/runs/t1/delta.safetensors`, 16.00 MB\n", trainingPage(in, s))
}
