package zk

import "context"

// Features returns what stands in /feature, if the node is there. A cluster without
// KRaft finalises none, and the node is the controller's of stock Kafka: headwater
// leaves it alone.
func (s *Session) Features(ctx context.Context) (json []byte, ok bool, err error) {
	n, found, err := s.find(ctx, featurePath, nil)
	return n.data, found, err
}
