package engine

import "testing"

// TestGradientNarrowed: a candidate of fewer channels and heads, another in each layer, has the gradients that the model of the full shape has in
// which what was cut is zero, of what is left.
func TestGradientNarrowed(t *testing.T) {
	full := tinyModels()["llama"]
	m := full.load(t, 2)
	windows := full.texts(testLengths...)
	small, zeroed := full.narrowed(m.Config())
	got, value := gradients(t, m, windows, small.candidate(m.Config()), Loss{}, nil)
	like := zeroed.candidate(m.Config())
	for unit, l := range like {
		l.Name = "zeroed"
		like[unit] = l
	}
	want, wantValue := gradients(t, m, windows, like, Loss{}, nil)
	if value != wantValue {
		t.Errorf("loss %+v, with zeros %+v", value, wantValue)
	}
	for _, module := range m.Config().Modules() {
		rows, cols := keeps[module.Block].rowsAndCols(module, full.dim)
		if rows == nil {
			rows = counted(0, module.Rows)
		}
		if cols == nil {
			cols = counted(0, module.Cols)
		}
		var left []float32
		for _, r := range rows {
			for _, c := range cols {
				left = append(left, want[tensorName(module.Name)][r*module.Cols+c])
			}
		}
		g := got[tensorName(module.Name)]
		if len(g) != len(left) {
			t.Fatalf("%s: a gradient of %d weights, want %d", module.Name, len(g), len(left))
		}
		if d := distance(g, left); !(d < 1e-6) {
			t.Errorf("%s: relative distance %v", module.Name, d)
		}
	}
	for name, g := range want {
		if h := got[name]; len(h) == len(g) && distance(h, g) > 1e-6 {
			t.Errorf("%s: relative distance %v", name, distance(h, g))
		}
	}
}
