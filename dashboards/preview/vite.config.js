// The page that draws a dashboard, as one bundle.
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  plugins: [react()],
  // Grafana's components import hooks of two generations of the router.
  resolve: { alias: { 'react-router-dom-v5-compat': 'react-router-dom' } },
  define: { 'process.env': {}, global: 'globalThis' },
  // Grafana's components are large, and nobody downloads them here.
  build: { chunkSizeWarningLimit: 20000 },
});
