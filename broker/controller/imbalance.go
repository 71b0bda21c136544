package controller

// leadership is who leads a partition, and who should.
type leadership struct{ preferred, leader int32 }

// imbalanced returns the places of those that someone else leads than should, of
// brokers for which that is more than percent of what they should lead.
func imbalanced(all []leadership, percent int) []int {
	should, lacks := map[int32]int{}, map[int32]int{}
	for _, l := range all {
		should[l.preferred]++
		if l.leader != l.preferred {
			lacks[l.preferred]++
		}
	}
	var out []int
	for i, l := range all {
		if l.leader != l.preferred && 100*lacks[l.preferred] > percent*should[l.preferred] {
			out = append(out, i)
		}
	}
	return out
}
