INSERT INTO published_statistics AS s (project, size) VALUES ($1, 0)
ON CONFLICT (project) DO UPDATE SET size = 0
