"""What several tests share: streams and cases, servers, programs, and the reader's side of the SDK."""
