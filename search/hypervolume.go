package search

import (
	"fmt"
	"slices"
)

// Hypervolume is the volume of what the points dominate, up to the reference point: the measure of
// a front that grows with every improvement. All objectives are minimised; points that do not
// lie below the reference in every objective add nothing. In two dimensions it is a sweep in
// O(n log n); above, it slices along the last objective and recurses (HSO: While, Hingston, Barone
// and Huband, 2006), which is exact and meant for fronts of a few hundred points.
func Hypervolume(points [][]float64, reference []float64) float64 {
	var inside [][]float64
	for i, p := range points {
		if len(p) != len(reference) {
			panic(fmt.Sprintf("search: point %d has %d objectives, the reference %d", i, len(p), len(reference)))
		}
		below := true
		for k := range p {
			below = below && p[k] < reference[k]
		}
		if below {
			inside = append(inside, p)
		}
	}
	return volume(inside, reference, len(reference))
}

// volume is the hypervolume in the first d objectives.
func volume(points [][]float64, reference []float64, d int) float64 {
	if len(points) == 0 || d == 0 {
		return 0
	}
	last := d - 1
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(p, q []float64) int { return slices.Compare(p[last:d], q[last:d]) })
	if d == 1 {
		return reference[0] - points[0][0]
	}
	var sum, best float64
	best = reference[0]
	for i := range points {
		next := reference[last]
		if i+1 < len(points) {
			next = points[i+1][last]
		}
		depth := next - points[i][last]
		if d == 2 {
			best = min(best, points[i][0])
			sum += float64(depth * (reference[0] - best))
		} else if depth > 0 {
			sum += float64(depth * volume(points[:i+1], reference, last))
		}
	}
	return sum
}
