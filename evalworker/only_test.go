package evalworker

import (
	"path/filepath"
	"testing"

	"github.com/paretopress/paretopress/workflows"
)

// TestOnlyCandidate: where a job leaves nothing to choose, the one candidate is the answer, measured as any other, and can be exported and healed.
func TestOnlyCandidate(t *testing.T) {
	model := tiny(t)
	sparsity := func(j *workflows.Job, target string) {
		j.Space, j.Target, j.QuantMethod, j.Group, j.SparsityMethod = workflows.SpaceSparsity, target, "", 0, "magnitude"
	}
	for name, change := range map[string]func(*workflows.Job){
		"pattern": func(j *workflows.Job) { sparsity(j, "sparsity=0.5"); j.SparsityPattern = "2:4" },
		"step":    func(j *workflows.Job) { sparsity(j, "sparsity=0.5"); j.SparsityStep = 1 << 20 },
		"bits":    func(j *workflows.Job) { j.Bits, j.Target = []int{4}, "bpw=5.25" },
		"front":   func(j *workflows.Job) { j.Bits, j.Target = []int{4}, "" },
		"drop": func(j *workflows.Job) {
			j.Space, j.Target, j.QuantMethod, j.Group = workflows.SpaceDrop, "drop=1", "", 0
		},
		"random": func(j *workflows.Job) { j.Bits, j.Target, j.Method = []int{4}, "bpw=5.25", workflows.MethodRandom },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := newFolder(t, model, func(j *workflows.Job) {
				change(j)
				if name == "pattern" {
					j.Heal, j.HealSteps, j.HealDensity = workflows.HealBest, 8, 0.2
				}
			})
			runLocal(t, folder, Options{})
			front := decodeFront(t, folder)
			if len(front.Points) != 1 || front.Candidates == 0 || front.Tokens == 0 {
				t.Fatalf("%d points of %d candidates on %d tokens", len(front.Points), front.Candidates, front.Tokens)
			}
			p := front.Points[0]
			if !p.Answer || p.Search == nil || p.HeldOut == nil || p.HeldOut.Windows != len(front.Windows.HeldOut) || !(p.HeldOut.KL.Value > 0) || p.Uniform == nil || p.Uniform.ID != p.ID {
				t.Errorf("the point is %+v", p)
			}
			if name != "pattern" {
				return
			}
			if p.Bits != 9 || len(front.Healed) != 1 || !(front.Healed[0].Gain.KL.Value > 0) {
				t.Errorf("%v bits a weight, want half of 16 and a mask; healed %+v", p.Bits, front.Healed)
			}
			w := NewWorkbench(Options{})
			defer w.Close()
			for _, point := range []string{"best", "best-healed"} {
				if _, err := w.Export(t.Context(), ExportInput{Folder: folder, Point: point, Format: FormatHuggingFace, Out: filepath.Join(t.TempDir(), "m"), MaxWindows: 2}, quietly); err != nil {
					t.Errorf("%s: %v", point, err)
				}
			}
		})
	}
}
