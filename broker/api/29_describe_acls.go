package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeACLs answers as a Kafka does that has no authorizer: nobody is asked who
// he is, so there are no rules to list, and a client is told that rather than that
// the list is empty.
func (a *API) describeACLs(_ context.Context, _ *kmsg.DescribeACLsRequest) kmsg.Response {
	resp := kmsg.NewPtrDescribeACLsResponse()
	resp.ErrorCode, resp.ErrorMessage = int16(a.code(errNoAuthorizer)), message(errNoAuthorizer)
	return resp
}
