import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react()],
  // The gateway serves the build from the Python package.
  build: { outDir: "../onoma/web", emptyOutDir: true },
  // `npm run dev` beside a running `onoma up`.
  server: { proxy: { "/api": "http://127.0.0.1:8080" } },
  test: { environment: "happy-dom", include: ["src/**/*.test.{ts,tsx}"] },
});
