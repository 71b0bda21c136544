package pull

import "fmt"

// unknownRoute answers what is no subject that is spoken: silence would have its
// sender wait for the timeout.
var unknownRoute = route{kind: "error_response", handle: func(s *Service, c *call) {
	s.fail(c, errBadRequest.with(fmt.Sprintf("$JS.%.100s is not spoken here", c.tokens[0])))
}}
