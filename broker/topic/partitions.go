package topic

// Partitions are those of a topic, as a box's devices may write to them. A box without
// a region writes to all, and its home is the first.
type Partitions struct {
	Count    int32
	Home     int32 // the one that the box is the home of
	HomeOnly bool  // it writes to no other: others are other boxes' homes
}
