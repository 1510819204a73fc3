// Package serve is the other side of package casq/transfer/web: it sends the files of a
// folder to the workers of other sites, over HTTP, and takes nothing.
//
// Below /files/ are the files of the kinds that are known, each at the path that it has
// below the folder. Whoever asks has a token. No symbolic link is followed, only regular
// files are sent, and nothing is listed. What is not there is 404; 503 says that nothing can
// be told at present, because the folder is gone, or it is not known yet which kinds there
// are; that is never taken for a file that is missing.
package serve
