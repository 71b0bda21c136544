package pull

// streamRoutes are what can be asked about streams, and what cannot.
var streamRoutes = []route{}
